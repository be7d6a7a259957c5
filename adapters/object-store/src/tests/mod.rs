mod conformance;
mod requests;
mod service;
mod simulation;
mod stores;
mod uploads;
