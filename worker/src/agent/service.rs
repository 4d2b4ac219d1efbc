//! What the worker says of itself: in the directory of services of the bus, and at `/readyz?verbose`.

use pvf_shared::{
    bus::Service,
    http::{Condition, connection},
    identity::WorkerId,
    ids::FleetName,
    wire::{SecurityStatus, WorkerHello, WorkerKind},
};

/// What the worker says of itself to those who look for services.
pub(super) fn service(id: &WorkerId, hello: &WorkerHello, fleet: &FleetName) -> Service {
    Service {
        name: match id.kind {
            WorkerKind::Prepare => "pvf-prepare-worker",
            WorkerKind::Execute => "pvf-execute-worker",
        },
        description: "Runs the jobs of a PVF validation fleet",
        metadata: vec![
            ("fleet", fleet.to_string()),
            ("worker", id.to_string()),
            ("host", hello.host.clone()),
            ("slots", hello.slots.to_string()),
            ("engine", hello.engine.to_string()),
        ],
        endpoints: Vec::new(),
    }
}

/// What has to be well for the worker to work: the connection, the registration and the self-test, and the sandbox.
pub(super) fn conditions(
    (connected, registered, fit): (bool, bool, bool),
    security: &SecurityStatus,
) -> Vec<Condition> {
    let condition = |name, is_met, detail: String| Condition { name, is_met, detail };
    let sandbox = match security.missing.as_slice() {
        [] => "complete".to_owned(),
        missing => format!("without {}", missing.join(", ")),
    };
    vec![
        condition("bus", connected, connection(connected).into()),
        condition("coordinator", registered, if registered { "registered" } else { "not registered" }.into()),
        condition("self-test", fit, if fit { "passed" } else { "failed" }.into()),
        condition("sandbox", security.secure, sandbox),
    ]
}
