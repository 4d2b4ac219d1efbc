//! Options of a program's traces.

use clap::Args;

/// Where a program exports its traces.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Export traces to this collector, by OTLP over HTTP: the URL without /v1/traces, for instance
    /// http://127.0.0.1:4318. The other variables of OpenTelemetry (OTEL_*) hold too, OTEL_TRACES_SAMPLER for instance
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
}

/// Traces that are exported until this is dropped. Dropping it waits at most five seconds for those that were not
/// exported yet.
#[must_use]
pub struct Traced {
    #[cfg(feature = "otlp")]
    _exporting: Option<super::otlp::Exporting>,
}

impl TraceArgs {
    /// Begins to export the traces of this process, if a collector is given.
    ///
    /// # Errors
    /// Names the option if its value is no URL of a collector.
    pub fn init(&self, service: &'static str) -> Result<Traced, String> {
        // An empty variable stands for none.
        let given = self.otlp_endpoint.as_deref().filter(|url| !url.is_empty());
        self.begin(service, given)
    }

    #[cfg(feature = "otlp")]
    fn begin(&self, service: &'static str, given: Option<&str>) -> Result<Traced, String> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if is_disabled || (given.is_none() && !set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) {
            return Ok(Traced { _exporting: None });
        }
        let exporting = super::otlp::Exporting::begin(service, given);
        exporting
            .map(|exporting| Traced { _exporting: Some(exporting) })
            .map_err(|why| format!("--otlp-endpoint: {why}"))
    }

    #[cfg(not(feature = "otlp"))]
    fn begin(&self, _service: &'static str, given: Option<&str>) -> Result<Traced, String> {
        match given {
            Some(_) => Err("--otlp-endpoint: this program was built without the feature otlp".into()),
            None => Ok(Traced {}),
        }
    }
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_and_an_empty_one_is_none() {
        let of = |url: &str| TraceArgs { otlp_endpoint: Some(url.into()) }.init("pvf").map(drop);
        assert_eq!(of(""), Ok(()));
        for wrong in ["127.0.0.1:4318", "nats://host:1", "http://", "not a url"] {
            let why = of(wrong).unwrap_err();
            assert!(why.starts_with("--otlp-endpoint: ") && why.contains("http://"), "{wrong}: {why}");
        }
    }
}
