//! Every framework over every storage, over real sockets.
#![allow(clippy::unwrap_used)] // where a test cannot go on, it fails

mod browser;
mod chromium;
mod client;
mod command_line;
mod concatenation;
mod connection;
mod content;
mod download;
mod example;
mod expect;
mod expiry;
mod faults;
mod faulty;
mod full;
mod gone;
mod harness;
mod history;
mod hooks;
mod http2;
mod killed;
mod kills;
mod large;
mod many;
mod mount;
mod network;
mod others;
mod power;
mod shutdown;
mod specification;
mod takeover;
mod tls;
mod topics;
mod trailer;
mod uploads;
mod watched;

harness::on_every_server! {
    specification::the_printed_exchanges,

    gone::a_client_that_ends_its_connection_loses_nothing,
    gone::a_client_that_breaks_its_connection_loses_nothing,
    gone::a_client_that_leaves_a_slow_storage_behind_loses_nothing,
    gone::a_client_that_does_not_wait_for_the_application_loses_nothing,
    gone::a_silent_client_is_told_and_loses_nothing,
    gone::a_creation_that_is_cut_loses_nothing,
    gone::a_chunked_body_may_be_cut_within_a_chunk,
    gone::a_body_without_its_checksum_is_forgotten,

    killed::what_was_acknowledged_outlives_a_kill,
    killed::a_body_goes_on_after_each_of_many_kills,
    killed::a_final_upload_is_joined_after_a_kill,

    takeover::head_tells_all_that_a_stalled_request_has_sent,
    takeover::head_tells_what_was_committed_while_it_asked,
    takeover::another_request_goes_on_from_where_a_stalled_one_is,
    takeover::a_deletion_does_not_wait_for_a_stalled_request,
    takeover::a_request_that_never_stalls_gives_way_as_well,
    takeover::of_two_that_race_from_one_offset_one_wins,
    takeover::a_storm_of_clients_brings_an_upload_to_its_end,

    many::uploads_at_once_do_not_mix,

    history::an_upload_is_an_append_only_register,

    large::a_gibibyte_passes_through_little_memory,

    full::what_there_is_room_for_is_kept,

    concatenation::finished_parts_make_a_whole,
    concatenation::a_whole_waits_for_its_parts,
    concatenation::parts_may_be_empty,

    expect::a_body_that_is_wanted_is_asked_for,
    expect::a_body_that_is_refused_is_not_asked_for,

    connection::a_refused_body_is_never_taken_for_a_request,
    connection::a_small_refused_body_leaves_the_connection_usable,
    connection::requests_may_be_pipelined,
    connection::two_ways_to_tell_a_body_s_end_are_not_both_believed,
    connection::a_status_without_a_name_arrives_and_head_has_no_body,

    download::a_finished_upload_can_be_fetched_whole_and_in_parts,
    download::a_client_that_leaves_is_no_trouble,
    download::nothing_can_be_fetched_unless_the_application_says_so,

    http2::a_stream_that_is_reset_loses_nothing,
    http2::a_connection_that_breaks_loses_nothing_of_its_streams,
    http2::a_stalled_stream_gives_way_to_another_of_its_connection,
    http2::a_refused_body_leaves_other_streams_alone,
    http2::streams_of_one_connection_do_not_mix,

    network::a_connection_may_break_at_any_byte,
    network::a_request_that_comes_late_or_twice_does_nothing,
    network::a_crowd_that_stalls_leaves_others_served,
    network::an_upload_may_change_servers,

    mount::an_endpoint_is_found_at_any_depth,
    mount::an_id_may_be_percent_encoded,
    mount::a_path_that_no_upload_can_have_is_not_found,
    mount::headers_arrive_as_they_were_sent,
    mount::a_browser_of_another_origin_sees_refusals_too,

    shutdown::what_came_is_committed,
    shutdown::a_connection_without_a_request_does_not_hold_it_up,

    expiry::an_abandoned_upload_goes_and_a_finished_one_stays,
    expiry::an_expired_upload_is_gone_before_it_is_swept,
    expiry::an_upload_that_is_coming_in_is_not_swept,

    trailer::a_checksum_may_follow_the_body,

    uploads::a_file_arrives_whole,
    uploads::an_upload_ends_over_a_line_that_always_breaks,
    uploads::a_silent_line_is_given_up_and_the_upload_goes_on,
    uploads::another_process_goes_on,
    uploads::an_upload_that_is_gone_begins_anew,
    uploads::parts_are_joined,
    uploads::a_stream_of_unknown_length_arrives_whole,
    uploads::a_file_that_changes_is_an_error,
    uploads::a_refusal_is_told_with_its_words,
    uploads::an_upload_can_be_sent_request_by_request,
    uploads::parts_go_on_in_another_process,
    uploads::credentials_are_asked_for_and_renewed,
    uploads::credentials_stay_at_home,

    hooks::come_in_order,
    hooks::decide_by_the_application_s_user,
    hooks::before_finish_refuses_and_shapes_the_response,
    hooks::finished_is_called_again_until_it_succeeds,
    hooks::finished_is_called_again_after_a_kill,
    hooks::a_deletion_can_be_vetoed,
}
