//! Runs the calls of worker executables on a fleet, and on a host of this machine where the fleet has no answer.

use crate::{
    calls::{ExecuteCall, PrepareCall},
    code_call::CodeCall,
    metrics::NodeMetrics,
    protocol::{ExecuteAnswer, JobResponse, PrepareAnswer, PrepareError, WorkerError},
    security::FleetSecurity,
    verdicts::{self, Preparation},
};
use bytes::Bytes;
use pvf_shared::{
    ValidationHost,
    bus::{
        BusError, SharedBus,
        nats::{NatsBus, NatsConnection},
    },
    client::{ClientConfig, ClientError, ExecuteRequest, Pvf},
    ids::FleetName,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

/// How long the first connection to the bus may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client looks for a coordinator that it has never heard of; a call with more time looks again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest wait that a request may ask for.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// How long the question for the security of the fleet may take.
const SECURITY_WITHIN: Duration = Duration::from_secs(10);
/// The pause before another attempt to connect.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// The pause before a preparation that nothing has decided is asked for again: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// A fleet, and what stands in for it.
#[derive(Clone)]
pub struct Fleet {
    /// The client, from the first connection on.
    client: watch::Receiver<Option<Connected>>,
    /// The host of this machine that stands in.
    local: Option<ValidationHost>,
    metrics: Option<NodeMetrics>,
}

/// A client and its connection.
#[derive(Clone)]
struct Connected {
    client: ValidationHost,
    bus: SharedBus,
}

/// Why there is no connection to a fleet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The bus cannot be reached, or refuses the credentials.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The client cannot start.
    #[error(transparent)]
    Client(#[from] ClientError),
}

async fn connect(bus: &NatsConnection, name: &FleetName) -> Result<Connected, ConnectError> {
    let bus: SharedBus = Arc::new(NatsBus::connect(bus, "pvf-node", CONNECT_TIMEOUT).await?);
    let config = ClientConfig { fleet: name.clone(), patience: PATIENCE, ..ClientConfig::default() };
    let client = ValidationHost::connect(bus.clone(), config).await?;
    Ok(Connected { client, bus })
}

impl Fleet {
    /// Connects to a fleet. Does not wait for a coordinator.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub async fn connect(bus: &NatsConnection, name: &FleetName) -> Result<Self, ConnectError> {
        Ok(Self::once(connect(bus, name).await?))
    }

    /// As [`Self::connect`], but goes on trying in the background while the bus cannot be reached.
    ///
    /// # Errors
    /// The bus refuses the credentials.
    pub async fn connect_in_time(bus: NatsConnection, name: FleetName) -> Result<Self, ConnectError> {
        match connect(&bus, &name).await {
            Ok(connected) => return Ok(Self::once(connected)),
            Err(error @ ConnectError::Bus(BusError::Refused { .. })) => return Err(error),
            Err(error) => tracing::warn!(%error, "cannot connect to the fleet yet, trying again"),
        }
        let (connected, client) = watch::channel(None);
        tokio::spawn(async move {
            let attempts = async {
                loop {
                    sleep(CONNECT_PAUSE).await;
                    match connect(&bus, &name).await {
                        Ok(client) => return client,
                        Err(error @ ConnectError::Bus(BusError::Refused { .. })) => {
                            tracing::warn!(%error, "the bus refuses this node, trying again");
                        }
                        Err(error) => tracing::debug!(%error, "still cannot connect to the fleet"),
                    }
                }
            };
            tokio::select! {
                client = attempts => {
                    tracing::info!("connected to the fleet");
                    connected.send_replace(Some(client));
                }
                () = connected.closed() => {}
            }
        });
        Ok(Self { client, local: None, metrics: None })
    }

    /// The fleet of this client, which uses this bus.
    #[cfg(test)]
    pub(crate) fn of(client: ValidationHost, bus: SharedBus) -> Self {
        Self::once(Connected { client, bus })
    }

    fn once(connected: Connected) -> Self {
        Self { client: watch::channel(Some(connected)).1, local: None, metrics: None }
    }

    /// Has these metrics count.
    pub fn with_metrics(self, metrics: NodeMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Whether the connection to the bus is up.
    pub fn is_connected(&self) -> bool {
        self.client.borrow().as_ref().is_some_and(|connected| connected.bus.is_connected())
    }

    /// With a host of this machine that stands in for the fleet.
    pub fn with_fallback(self, local: ValidationHost) -> Self {
        Self { local: Some(local), ..self }
    }

    /// The client. Waits for the first connection.
    async fn client(&self) -> ValidationHost {
        let mut client = self.client.clone();
        let connected = client.wait_for(Option::is_some).await.ok().and_then(|client| client.clone());
        match connected {
            Some(connected) => connected.client,
            // The process ends.
            None => std::future::pending().await,
        }
    }

    /// What is true of the security of the fleet's workers.
    ///
    /// # Errors
    /// No coordinator answers in time, or the fleet has no execute worker.
    pub async fn security(&self) -> Result<FleetSecurity, String> {
        let status = timeout(SECURITY_WITHIN, async { self.client().await.status().await }).await;
        let status = status.map_err(|_| format!("no coordinator answers within {} s", SECURITY_WITHIN.as_secs()))?;
        FleetSecurity::of(&status.map_err(|e| e.to_string())?)
    }

    /// Executes a candidate.
    pub async fn execute(&self, call: &ExecuteCall, code: Bytes, block_data: Bytes) -> ExecuteAnswer {
        let deadline = Instant::now() + call.answer_within;
        let job = Job { call, code, block_data, deadline };
        let of_fleet = async { job.execute_on(&self.client().await).await };
        let Some(local) = &self.local else { return of_fleet.await };
        tokio::pin!(of_fleet);
        let why = match timeout(call.fallback_after, &mut of_fleet).await {
            Ok(Err(WorkerError::Internal(why))) => Some(why),
            Ok(answer) => return answer,
            Err(_) => None,
        };
        tracing::warn!(code = %call.code.hash, ?why, "no answer of the fleet: executing the candidate here");
        if let Some(metrics) = &self.metrics {
            metrics.fell_back();
        }
        let of_local = job.execute_on(local);
        tokio::pin!(of_local);
        if why.is_some() {
            return of_local.await;
        }
        // Whichever has decided first.
        tokio::select! {
            answer = &mut of_fleet => if is_internal(&answer) { of_local.await } else { answer },
            // A death of the job on one machine is no answer while the fleet may have one.
            answer = &mut of_local => if is_decided(&answer) { answer } else { of_fleet.await },
        }
    }

    /// Prepares a code: until it is decided, or the time is over. The node would try an internal error again only after
    /// fifteen minutes. The checksum and the length of the code are left to the caller.
    pub async fn prepare(&self, call: &PrepareCall, code: &Bytes) -> PrepareAnswer {
        let deadline = Instant::now() + call.answer_within;
        let (mut last, mut pause) = (String::from("no answer"), PAUSES[0]);
        loop {
            let halfway = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
            for local in std::iter::once(None).chain(self.local.as_ref().map(Some)) {
                let attempt = async {
                    match local {
                        Some(local) => prepare_on(local, call, code).await,
                        None => prepare_on(&self.client().await, call, code).await,
                    }
                };
                // A fleet that is away must leave time for the host of this machine.
                let until = if local.is_none() && self.local.is_some() { halfway } else { deadline };
                match timeout_at(until, attempt).await {
                    Ok(Preparation::Prepared(prepared)) => {
                        self.prepare_locally(call, code);
                        return Ok(prepared);
                    }
                    Ok(Preparation::Failed(error)) => return Err(error),
                    Ok(Preparation::NotTaken(why)) if local.is_some() || self.local.is_none() => {
                        return Err(PrepareError::Io(format!("pvf-fleet: {why}")));
                    }
                    Ok(Preparation::NotTaken(why)) => last = why,
                    Ok(Preparation::NotDecided(why)) => {
                        tracing::warn!(code = %call.code.hash, %why, "the preparation is not decided, asking again");
                        last = why;
                    }
                    Err(_) if until < deadline => last = "the fleet does not answer".into(),
                    Err(_) => return Err(PrepareError::Io(format!("pvf-fleet: not prepared in time: {last}"))),
                }
            }
            if timeout_at(deadline, sleep(pause)).await.is_err() {
                return Err(PrepareError::Io(format!("pvf-fleet: not prepared in time: {last}")));
            }
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Prepares a code on the host of this machine in the background, so that it can stand in at once.
    fn prepare_locally(&self, call: &PrepareCall, code: &Bytes) {
        let Some(local) = self.local.clone() else { return };
        let pvf = pvf(&call.code, code.clone());
        tokio::spawn(async move {
            let hash = pvf.code_hash();
            if let Err(error) = local.heads_up(vec![pvf], true).await {
                tracing::warn!(code = %hash, %error, "cannot prepare the code on this machine");
            }
        });
    }
}

fn is_internal(answer: &ExecuteAnswer) -> bool {
    matches!(answer, Err(WorkerError::Internal(_)))
}

/// Whether an answer is the candidate's doing for certain.
fn is_decided(answer: &ExecuteAnswer) -> bool {
    match answer {
        Ok(executed) => match executed.response {
            JobResponse::Valid(_) | JobResponse::InvalidCandidate(_) | JobResponse::PovDecompression => true,
            JobResponse::RuntimeConstruction(_) | JobResponse::CorruptedArtifact => false,
        },
        Err(WorkerError::JobTimedOut) => true,
        Err(WorkerError::JobDied { .. } | WorkerError::JobError(_) | WorkerError::Internal(_)) => false,
    }
}

fn pvf(call: &CodeCall, code: Bytes) -> Pvf {
    Pvf::with_known_hash(call.hash, code, call.executor_params.clone()).with_code_bomb_limit(call.bomb_limit)
}

/// An execution with its bytes.
struct Job<'a> {
    call: &'a ExecuteCall,
    code: Bytes,
    block_data: Bytes,
    deadline: Instant,
}

impl Job<'_> {
    async fn execute_on(&self, host: &ValidationHost) -> ExecuteAnswer {
        let Self { call, block_data, deadline, .. } = self;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = ExecuteRequest {
                exec_timeout: Some(call.timeout),
                answer_within: Some(left.max(LEAST_WAIT)),
                ..ExecuteRequest::new(call.kind, call.candidate.clone(), block_data.clone())
            };
            // On the heap: it is large, and is part of several futures.
            let answer = Box::pin(host.execute_pvf(pvf(&call.code, self.code.clone()), request)).await;
            if matches!(answer, Err(ClientError::NoCoordinator { .. })) && !left.is_zero() {
                continue;
            }
            return verdicts::of_execution(answer, call.node_timeout, block_data.len());
        }
    }
}

async fn prepare_on(host: &ValidationHost, call: &PrepareCall, code: &Bytes) -> Preparation {
    let pvf = pvf(&call.code, code.clone()).with_prepare_timeout(call.timeout);
    let answer = if call.precheck {
        Box::pin(host.precheck_pvf(pvf)).await
    } else {
        // One code has one answer.
        let answers = Box::pin(host.heads_up(vec![pvf], true)).await;
        answers.and_then(|mut answers| answers.pop().ok_or(ClientError::Ended))
    };
    verdicts::of_preparation(answer, call.timeout)
}
