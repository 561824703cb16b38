//! Spans for OpenTelemetry: of the statements that are drawn, one each, with a span in it for each step.
//!
//! They are handed to the SDK's own thread, which sends them in batches; where it falls behind it drops them, and no statement waits.

use std::time::Duration;

use opentelemetry::trace::Span as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, TracerProviderBuilder};

use crate::config;
use crate::statistics::trace::Trace;

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans are handed over; for every worker one.
#[derive(Clone, Debug)]
pub struct Spans {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl Spans {
    /// Begins to send to the collector of the configuration. Must be called on a runtime, which the sending goes on with.
    ///
    /// # Errors
    /// When the endpoint is none.
    pub fn start(config: &config::Tracing) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(TIMEOUT)
            .build()?;
        Ok(Some(Self::over(
            SdkTracerProvider::builder().with_batch_exporter(exporter),
            &config.service_name,
        )))
    }

    fn over(builder: TracerProviderBuilder, service: &str) -> Self {
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", service.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        // They have been drawn before.
        let provider = builder
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .build();
        Self {
            tracer: provider.tracer("tandem"),
            provider,
        }
    }

    /// Hands a statement's spans over.
    pub fn send(&self, trace: &Trace, parent: Option<&Parent>) {
        let around = match parent {
            Some(Parent(context)) => Context::new().with_remote_span_context(context.clone()),
            None => Context::new(),
        };
        let end = trace.steps.last().map_or(Duration::ZERO, |(_, at)| *at);
        // As OpenTelemetry's conventions for databases name them; the summary of a statement is its first word.
        let name = trace.statement.split(' ').next().unwrap_or_default().to_owned();
        let builder = self.tracer.span_builder(name);
        let builder = builder
            .with_kind(SpanKind::Server)
            .with_start_time(trace.began_at);
        let mut span = builder
            .with_attributes(attributes(trace))
            .start_with_context(&self.tracer, &around);
        if trace.failed {
            span.set_status(Status::error(""));
        }
        let inside = Context::new().with_remote_span_context(span.span_context().clone());
        let mut from = Duration::ZERO;
        for (step, at) in &trace.steps {
            let builder = self
                .tracer
                .span_builder(step.name())
                .with_start_time(trace.began_at + from);
            let mut part = builder.start_with_context(&self.tracer, &inside);
            part.end_with_timestamp(trace.began_at + *at);
            from = *at;
        }
        span.end_with_timestamp(trace.began_at + end);
    }

    /// Sends what is left. It blocks.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!("the last spans were not sent: {error}");
        }
    }
}

fn attributes(trace: &Trace) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("db.system.name", "mysql"),
        KeyValue::new("db.query.text", trace.statement.to_string()),
        KeyValue::new(
            "db.response.returned_rows",
            i64::try_from(trace.rows).unwrap_or(i64::MAX),
        ),
        KeyValue::new("tandem.session", i64::from(trace.session)),
        KeyValue::new("tandem.user", trace.user.clone()),
        KeyValue::new("tandem.digest", trace.digest.to_string()),
    ];
    if !trace.schema.is_empty() {
        attributes.push(KeyValue::new("db.namespace", trace.schema.clone()));
    }
    if let Some(server) = &trace.server {
        attributes.push(KeyValue::new("tandem.server", server.clone()));
    }
    if let Some(reason) = trace.reason {
        attributes.push(KeyValue::new("tandem.reason", reason));
    }
    if let Some(code) = trace.error {
        attributes.push(KeyValue::new("error.type", code.to_string()));
    }
    attributes
}

/// The span that a client says a statement belongs to.
#[derive(Clone, Debug)]
pub struct Parent(SpanContext);

impl Parent {
    /// From `00-<trace>-<span>-<flags>` (W3C Trace Context, section 3.2); nothing if it isn't well-formed.
    pub fn read(text: &[u8]) -> Option<Self> {
        remote(std::str::from_utf8(text).ok()?).map(Self)
    }

    /// Whether somebody keeps that one.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }
}

fn remote(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SpanData;

    use super::*;
    use crate::classify::Fingerprint;
    use crate::statistics::trace::Step;

    fn between(from: SystemTime, to: SystemTime) -> Duration {
        to.duration_since(from).unwrap_or_default()
    }

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl opentelemetry_sdk::trace::SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("not poisoned").extend(batch);
            Ok(())
        }
    }

    /// A statement is one span, within the client's if that named one, and its steps are spans within it, one behind the other.
    #[test]
    fn a_statement_is_a_span_with_its_steps_inside() {
        let kept = Kept::default();
        let spans = Spans::over(
            SdkTracerProvider::builder().with_simple_exporter(kept.clone()),
            "shop",
        );
        let at = |micros| Duration::from_micros(micros);
        let trace = Trace {
            worker: 0,
            number: 1,
            session: 7,
            user: "app".to_owned(),
            schema: "shop".to_owned(),
            digest: Fingerprint(10),
            statement: "SELECT a FROM t WHERE b = ?".into(),
            server: Some("b".to_owned()),
            reason: Some("balanced"),
            failed: false,
            error: None,
            rows: 3,
            began_at: SystemTime::UNIX_EPOCH,
            steps: vec![(Step::Classify, at(5)), (Step::Send, at(20)), (Step::End, at(90))],
        };
        let parent = Parent::read(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert!(parent.as_ref().is_some_and(Parent::is_sampled));
        spans.send(&trace, parent.as_ref());
        let all = kept.0.lock().expect("not poisoned");
        let whole = all
            .iter()
            .find(|span| span.name == "SELECT")
            .expect("the statement");
        assert_eq!(whole.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(between(whole.start_time, whole.end_time), at(90));
        let has = |key: &str, value: &str| {
            let mut found = whole.attributes.iter().filter(|it| it.key.as_str() == key);
            found.any(|it| it.value.as_str() == value)
        };
        assert!(
            has("db.query.text", "SELECT a FROM t WHERE b = ?") && has("tandem.server", "b"),
            "{whole:?}"
        );
        let parts: Vec<_> = all
            .iter()
            .filter(|span| span.parent_span_id == whole.span_context.span_id())
            .map(|span| (span.name.to_string(), between(span.start_time, span.end_time)))
            .collect();
        let expected = [("classify", 5), ("send", 15), ("end", 70)];
        assert_eq!(
            parts,
            expected.map(|(name, micros)| (name.to_owned(), at(micros)))
        );
    }

    #[test]
    fn a_parent_is_well_formed_or_none() {
        assert!(remote("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_some());
        for broken in [
            "",
            "00",
            "00-x-y-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert!(remote(broken).is_none(), "{broken}");
        }
    }
}
