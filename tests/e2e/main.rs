//! Every framework over every storage, over real sockets.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

mod applications;
mod browser;
mod buckets;
mod chromium;
mod client;
mod command_line;
mod concatenation;
mod connection;
mod content;
mod download;
mod draft;
mod draft_uploads;
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
mod interim;
mod killed;
mod kills;
mod large;
mod layers;
mod log;
mod many;
mod mount;
mod network;
mod operations;
mod others;
mod page;
mod page_cancel;
mod page_faults;
mod page_looks;
mod page_proxy;
mod page_tabs;
mod page_uploads;
mod pictures;
mod postgres;
mod power;
mod private;
mod processes;
mod proxied;
mod proxies;
mod react;
mod refusals;
mod resumable;
mod scripts;
mod secure;
mod shutdown;
mod slow;
mod specification;
mod takeover;
mod telemetry;
mod tls;
mod topics;
mod trailer;
mod unread;
mod uploads;
mod urlsession;
mod watched;

harness::on_every_server! {
    every: {
        specification::the_examples_of_the_specification,

        gone::a_closed_connection_loses_nothing,
        #[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
        gone::a_reset_connection_loses_nothing,
        #[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
        gone::leaving_during_authorization_loses_nothing,
        gone::a_silent_client_times_out_and_loses_nothing,
        gone::an_interrupted_creation_loses_nothing,
        gone::a_chunked_body_may_be_interrupted_within_a_chunk,
        gone::a_body_without_its_checksum_is_discarded,

        takeover::head_reports_everything_a_stalled_request_has_sent,
        takeover::head_reports_what_was_committed_during_authorization,
        takeover::another_request_resumes_where_a_stalled_one_stopped,
        takeover::a_deletion_does_not_wait_for_a_stalled_request,
        takeover::a_request_that_never_stalls_is_superseded_as_well,
        takeover::one_of_two_racing_requests_wins,
        takeover::many_competing_clients_complete_an_upload,

        processes::one_process_at_a_time_notifies_the_application,

        many::uploads_at_once_do_not_mix,

        history::an_upload_is_an_append_only_register,

        concatenation::finished_parts_are_concatenated,
        concatenation::a_final_upload_waits_for_its_parts,
        concatenation::the_number_of_waiting_final_uploads_is_limited,
        concatenation::parts_may_be_empty,

        expect::an_accepted_request_gets_100_continue,
        expect::a_refused_request_gets_no_100_continue,

        connection::a_refused_body_is_never_parsed_as_a_request,
        connection::a_small_refused_body_leaves_the_connection_usable,
        connection::requests_may_be_pipelined,
        connection::conflicting_body_lengths_are_not_both_trusted,
        connection::a_status_without_a_name_arrives_and_head_has_no_body,

        download::a_finished_upload_downloads_completely_and_in_ranges,
        download::a_client_that_disconnects_does_no_harm,
        download::download_is_off_by_default_and_requires_authorization,

        http2::a_reset_stream_loses_nothing,
        http2::a_broken_connection_loses_no_bytes_of_its_streams,
        http2::a_stalled_stream_is_superseded_by_another_of_its_connection,
        http2::a_refused_body_leaves_other_streams_alone,
        http2::streams_of_one_connection_do_not_mix,
        http2::a_location_names_the_authority_of_an_http2_request,

        network::a_connection_may_break_at_any_byte,
        network::a_late_or_repeated_request_does_nothing,

        mount::an_endpoint_works_at_any_depth,
        mount::an_id_may_be_percent_encoded,
        mount::an_impossible_path_is_not_found,
        mount::headers_arrive_as_they_were_sent,
        mount::cross_origin_pages_see_refusals_too,

        shutdown::received_bytes_are_committed,
        shutdown::an_idle_connection_does_not_delay_shutdown,

        expiry::abandoned_uploads_expire_and_finished_ones_stay,
        expiry::an_expired_upload_is_gone_before_it_is_removed,
        expiry::an_upload_being_received_is_not_removed,

        trailer::a_checksum_may_follow_the_body,

        uploads::a_file_arrives_completely,
        uploads::an_upload_completes_over_connections_that_always_break,
        uploads::an_upload_resumes_after_a_connection_stalls,
        uploads::another_process_resumes_an_upload,
        uploads::a_missing_upload_is_started_again,
        uploads::parts_are_concatenated,
        uploads::a_stream_of_unknown_length_arrives_completely,
        uploads::a_changed_file_is_an_error,
        uploads::a_refusal_is_reported_with_its_text,
        uploads::an_upload_can_be_sent_request_by_request,
        uploads::parts_resume_in_another_process,
        uploads::credentials_are_requested_and_renewed,
        uploads::credentials_are_not_sent_to_other_origins,

        draft::an_ordinary_request_is_an_upload,
        draft::an_upload_resumes_until_it_is_complete,
        draft::a_stalled_request_yields,
        draft::a_silent_client_may_return,
        draft::an_empty_append_completes_an_upload,
        draft::refusals_are_problems,
        draft::an_upload_that_exceeds_its_length_is_gone,
        draft::digests_are_verified,
        draft::the_application_shapes_the_final_response,
        draft::an_upload_is_complete_while_finished_runs,
        draft::a_tus_client_on_an_iphone_uses_tus,
        draft::content_with_expect_gets_100_continue,

        draft_uploads::a_file_of_any_length_arrives,
        draft_uploads::it_completes_over_connections_that_always_break,
        draft_uploads::an_entry_stores_its_protocol,
        draft_uploads::the_server_may_choose_the_protocol,
        draft_uploads::limits_are_respected,
        draft_uploads::the_applications_response_is_the_result,

        interim::only_clients_that_ask_get_interim_responses,

        resumable::other_requests_are_forwarded_untouched,
        resumable::an_upload_reaches_the_handler_as_one_request,
        resumable::an_empty_upload_reaches_the_handler,
        resumable::a_lost_response_is_replayed,
        resumable::the_handler_is_not_called_twice_at_once,
        resumable::the_handlers_own_errors_reach_the_client,
        resumable::a_large_response_arrives_once,
        resumable::an_upload_belongs_to_its_owner,
        resumable::each_path_has_its_own_uploads,
        resumable::oversized_content_is_rejected_before_the_handler_is_called,
        resumable::a_shutdown_waits_for_the_handler,

        hooks::hooks_run_in_order,
        hooks::hooks_know_the_applications_user,
        hooks::before_finish_rejects_and_shapes_the_response,
        hooks::finished_is_called_again_until_it_succeeds,
        hooks::a_deletion_can_be_vetoed,
    }
    outliving: {
        killed::acknowledged_bytes_survive_a_kill,
        killed::a_body_resumes_after_each_of_many_kills,
        killed::a_final_upload_is_concatenated_after_a_kill,
        processes::a_killed_process_delays_nobody,
        #[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
        large::a_gibibyte_needs_little_memory,
        #[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
        full::a_full_disk_keeps_stored_bytes,
        #[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
        full::a_final_upload_without_room_is_not_assembled,
        network::many_stalled_clients_do_not_block_others,
        network::an_upload_may_change_servers,
        draft::an_upload_survives_a_kill,
        resumable::the_handler_gets_exactly_the_bytes_whatever_is_killed,
        resumable::one_process_at_a_time_calls_the_handler,
        hooks::finished_is_called_again_after_a_kill,
    }
    informing: {
        #[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
        gone::leaving_during_a_slow_write_loses_nothing,
        interim::an_ordinary_request_resumes_after_a_cut,
        interim::durable_progress_is_reported,
        interim::pipelined_requests_keep_their_order,
        interim::a_download_is_not_interrupted,
        interim::continue_is_sent_too,
        interim::a_client_that_never_reads_can_upload,
        resumable::an_ordinary_request_survives_a_cut,
    }
    noticing: {
        processes::head_in_another_process_reports_all_bytes_of_a_stalled_request,
        processes::patch_in_another_process_takes_over_from_a_stalled_one,
        processes::delete_in_another_process_stops_a_stalled_request,
        processes::an_upload_goes_back_and_forth_between_processes,
        processes::uploads_received_by_one_process_do_not_expire_in_another,
    }
}
