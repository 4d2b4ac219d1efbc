//! Runs the calls of worker executables on a fleet, and on a host of this machine where the fleet has no answer.

use crate::{
    calls::{CodeCall, ExecuteCall, PrepareCall},
    protocol::{ExecuteAnswer, PrepareAnswer, PrepareError, WorkerError},
    security::FleetSecurity,
    verdicts::{self, Preparation},
};
use bytes::Bytes;
use pvf_shared::{
    ValidationHost,
    bus::{
        BusError,
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
/// How long a client looks for a coordinator that it has never heard of. Each call has a time of its own.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// The pause before another attempt to connect.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// The pause before a preparation that nothing has decided is asked for again: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// A fleet, and what stands in for it.
#[derive(Clone)]
pub struct Fleet {
    /// The client, from the first connection on.
    client: watch::Receiver<Option<ValidationHost>>,
    /// The host of this machine that stands in.
    local: Option<ValidationHost>,
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

async fn connect(bus: &NatsConnection, name: &FleetName) -> Result<ValidationHost, ConnectError> {
    let bus = NatsBus::connect(bus, "pvf-node", CONNECT_TIMEOUT).await?;
    let config = ClientConfig { fleet: name.clone(), patience: PATIENCE, ..ClientConfig::default() };
    Ok(ValidationHost::connect(Arc::new(bus), config).await?)
}

impl Fleet {
    /// Connects to a fleet. Does not wait for a coordinator.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub async fn connect(bus: &NatsConnection, name: &FleetName) -> Result<Self, ConnectError> {
        Ok(Self::of(connect(bus, name).await?))
    }

    /// As [`Self::connect`], but goes on trying in the background while the bus cannot be reached.
    ///
    /// # Errors
    /// The bus refuses the credentials.
    pub async fn connect_in_time(bus: NatsConnection, name: FleetName) -> Result<Self, ConnectError> {
        match connect(&bus, &name).await {
            Ok(client) => return Ok(Self::of(client)),
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
        Ok(Self { client, local: None })
    }

    /// The fleet of this client.
    pub fn of(client: ValidationHost) -> Self {
        Self { client: watch::channel(Some(client)).1, local: None }
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
            Some(client) => client,
            // The process ends.
            None => std::future::pending().await,
        }
    }

    /// What is true of the security of the fleet's workers.
    ///
    /// # Errors
    /// No coordinator answers in time, or the fleet has no execute worker.
    pub async fn security(&self, within: Duration) -> Result<FleetSecurity, String> {
        let status = timeout(within, async { self.client().await.status().await }).await;
        let status = status.map_err(|_| format!("no coordinator answers within {} s", within.as_secs()))?;
        FleetSecurity::of(&status.map_err(|e| e.to_string())?)
    }

    /// Executes a candidate.
    pub async fn execute(&self, call: &ExecuteCall, code: Bytes, block_data: Bytes) -> ExecuteAnswer {
        let of_fleet = async {
            let begun = Instant::now();
            let client = self.client().await;
            let answer_within = call.answer_within.saturating_sub(begun.elapsed());
            let call = ExecuteCall { answer_within, ..call.clone() };
            execute_on(&client, &call, code.clone(), block_data.clone()).await
        };
        let Some(local) = &self.local else { return of_fleet.await };
        tokio::pin!(of_fleet);
        let first = timeout(call.fallback_after, &mut of_fleet).await;
        let why = match first {
            Ok(Err(WorkerError::Internal(why))) => Some(why),
            Ok(answer) => return answer,
            Err(_) => None,
        };
        tracing::warn!(code = %call.code.hash, ?why, "no answer of the fleet: executing the candidate here");
        let of_local = execute_on(local, call, code.clone(), block_data.clone());
        tokio::pin!(of_local);
        if why.is_some() {
            return of_local.await;
        }
        // Whichever has an answer first; an internal error is none.
        tokio::select! {
            answer = &mut of_fleet => if is_internal(&answer) { of_local.await } else { answer },
            answer = &mut of_local => if is_internal(&answer) { of_fleet.await } else { answer },
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
                    Ok(Preparation::NotTaken(why)) => return Err(PrepareError::Io(format!("pvf-fleet: {why}"))),
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

fn pvf(call: &CodeCall, code: Bytes) -> Pvf {
    Pvf::new(code, call.executor_params.clone()).with_code_bomb_limit(call.bomb_limit)
}

async fn execute_on(host: &ValidationHost, call: &ExecuteCall, code: Bytes, block_data: Bytes) -> ExecuteAnswer {
    let len = block_data.len();
    let request = ExecuteRequest {
        exec_timeout: Some(call.timeout),
        answer_within: Some(call.answer_within),
        ..ExecuteRequest::new(call.kind, call.candidate.clone(), block_data)
    };
    let pvf = pvf(&call.code, code);
    // On the heap: it is large, and is part of several futures.
    let answer = Box::pin(host.execute_pvf(pvf, request)).await;
    verdicts::of_execution(answer, call.timeout, len)
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

/// The wall-clock limit that a node has for an execution: how long it waits for the answer.
pub fn wall_clock_limit(timeout: Duration) -> Duration {
    timeout.saturating_mul(pvf_shared::units::WALL_CLOCK_FACTOR)
}
