//! End to end: real processes, a real `nats-server`, a real store. Every test in `both` runs on the embedded host
//! and on a fleet.

mod architecture;
mod both;
mod bus;
mod cloud;
mod faults;
mod load;
mod queues;
mod simulation;
mod tool;
mod tool_fleet;
