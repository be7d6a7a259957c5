//! Every framework over every storage, over real sockets.

mod client;
mod harness;
mod specification;

harness::on_every_server! {
    specification::the_printed_exchanges,
}
