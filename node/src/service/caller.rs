//! The side of a worker executable.

use super::messages::{FromService, ToService, VERSION, read, write};
use crate::{
    calls::{ExecuteCall, PrepareCall},
    protocol::{ExecuteAnswer, PrepareAnswer, decode},
    security::FleetSecurity,
};
use bytes::Bytes;
use parity_scale_codec::{Decode, Encode};
use std::{io, path::Path, time::Duration};
use tokio::{net::UnixStream, time::timeout};

/// How long the service may take to answer the first message.
const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no answer of the service. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The connection failed.
    #[error("node service: {0}")]
    Io(#[from] io::Error),
    /// The service has ended it.
    #[error("node service: it has closed the connection")]
    Closed,
    /// The service said something else.
    #[error("node service: {0}")]
    Unexpected(String),
}

/// A connection to the service.
pub struct ServiceCaller {
    stream: UnixStream,
}

impl ServiceCaller {
    /// Connects to the service on this socket.
    ///
    /// # Errors
    /// It does not run, or is of another version.
    pub async fn connect(socket: &Path) -> Result<Self, Lost> {
        let hello = async {
            let mut caller = Self { stream: UnixStream::connect(socket).await? };
            write(&mut caller.stream, &ToService::Hello { version: VERSION }, &[]).await?;
            match caller.receive().await? {
                (FromService::Hello { version: VERSION }, _) => Ok(caller),
                (other, _) => Err(Lost::Unexpected(format!("it is of another version: {other:?}"))),
            }
        };
        timeout(HELLO_WITHIN, hello).await.unwrap_or_else(|_| Err(Lost::Unexpected("it does not answer".into())))
    }

    async fn receive(&mut self) -> Result<(FromService, Bytes), Lost> {
        read(&mut self.stream).await?.ok_or(Lost::Closed)
    }

    /// Executes a candidate.
    ///
    /// # Errors
    /// There is no answer. If the future is dropped, the connection is of no use.
    pub async fn execute(
        &mut self,
        call: &ExecuteCall,
        code: &Bytes,
        block_data: &Bytes,
    ) -> Result<ExecuteAnswer, Lost> {
        let answer = self.call(&ToService::Execute(Box::new(call.clone())), block_data, code).await?;
        match answer {
            (FromService::Executed, answer) => decoded(&answer),
            (other, _) => Err(Lost::Unexpected(format!("answers an execution with {other:?}"))),
        }
    }

    /// Prepares a code.
    ///
    /// # Errors
    /// As for [`Self::execute`].
    pub async fn prepare(&mut self, call: &PrepareCall, code: &Bytes) -> Result<PrepareAnswer, Lost> {
        match self.call(&ToService::Prepare(Box::new(call.clone())), &[], code).await? {
            (FromService::Prepared, answer) => decoded(&answer),
            (other, _) => Err(Lost::Unexpected(format!("answers a preparation with {other:?}"))),
        }
    }

    /// What is true of the security of the fleet's workers.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn security(&mut self) -> Result<Result<FleetSecurity, String>, Lost> {
        write(&mut self.stream, &ToService::Security, &[]).await?;
        match self.receive().await? {
            (FromService::Security(security), _) => Ok(security),
            (other, _) => Err(Lost::Unexpected(format!("answers a question with {other:?}"))),
        }
    }

    async fn call(&mut self, call: &ToService, body: &[u8], code: &Bytes) -> Result<(FromService, Bytes), Lost> {
        write(&mut self.stream, call, body).await?;
        match self.receive().await? {
            (FromService::CodeMissing, _) => {
                write(&mut self.stream, &ToService::Code, code).await?;
                self.receive().await
            }
            answer => Ok(answer),
        }
    }
}

fn decoded<T: Decode + Encode>(answer: &Bytes) -> Result<T, Lost> {
    decode("answer", answer).map_err(|error| Lost::Unexpected(error.to_string()))
}
