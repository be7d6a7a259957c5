mod conformance;
#[cfg(feature = "aws")]
mod copies;
mod expiry;
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod names;
mod pace;
mod pieces;
mod requests;
mod scale;
mod service;
mod silence;
mod simulation;
mod stores;
mod sweeps;
mod takeovers;
mod uploads;
mod writers;
