//! End to end: real processes, a real `nats-server`, a real store. Every test in `both` runs on the embedded host
//! and on a fleet.

mod architecture;
mod attacks;
mod benches;
mod both;
mod bus;
mod cache;
mod cloud;
mod compose;
mod connection;
mod coordinators;
mod docs;
mod engines;
mod faults;
mod http;
mod inputs;
mod limits;
mod load;
mod matrix;
mod parameters;
mod patience;
mod pull;
mod python;
mod queues;
mod repository;
mod seals;
mod simulation;
mod store;
mod tool;
mod tool_fleet;
mod tool_keys;
mod tool_usage;
mod tool_warnings;
mod versions;
