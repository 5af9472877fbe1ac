//! Log lines as Flux writes them: one JSON object per line with `level`, `ts` and `msg` first, then the fields of the
//! reconcile at hand (`controller`, `controllerKind`, `name`, `namespace`) and of the line itself.
//!
//! `flux logs` reads the keys `ts`, `level`, `msg`, `error`, `controllerKind`, `name` and `namespace`.

use crate::args::{LogEncoding, LogLevel, ProcessArgs};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Libraries whose inner steps are noise even when ours are wanted.
const QUIET: &str = "hyper=info,hyper_util=info,h2=info,rustls=info,gix=info,tower=info,reqwest=info,kube_client=error,kube_runtime=error";

/// Starts logging to standard error, and installs the one TLS provider of the process.
///
/// Call it once, before anything is logged. `RUST_LOG` wins over `--log-level`.
pub fn start(args: &ProcessArgs) {
    use_ring();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(args.log_level)));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails only if logging was started already.
    let _ = match args.log_encoding {
        LogEncoding::Json => subscriber.fmt_fields(JsonFields::new()).event_format(Line).try_init(),
        LogEncoding::Console => subscriber.try_init(),
    };
}

/// Installs the one TLS provider of the process; [`start`] does it too.
pub fn use_ring() {
    // Fails only if a provider is installed already: then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What is logged at a level: libraries less than that, never more.
fn directives(level: LogLevel) -> String {
    match level {
        LogLevel::Trace => format!("trace,{QUIET}"),
        LogLevel::Debug => format!("debug,{QUIET}"),
        LogLevel::Info => format!("info,{QUIET}"),
        LogLevel::Error => "error".to_owned(),
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(text) = extensions.get::<FormattedFields<N>>() else {
                continue;
            };
            if let Ok(Value::Object(inherited)) = serde_json::from_str(&text.fields) {
                fields.0.extend(inherited);
            }
        }
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::TRACE => "trace",
            Level::DEBUG => "debug",
            // Flux has no warnings; what went wrong but is being dealt with is information.
            Level::INFO | Level::WARN => "info",
            Level::ERROR => "error",
        };
        let message = fields.0.remove("message").unwrap_or_else(|| Value::from(""));
        let ts = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        write!(writer, r#"{{"level":"{level}","ts":"{ts}","msg":{message}"#)?;
        for (key, value) in &fields.0 {
            write!(writer, ",{}:{value}", Value::from(key.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::level_filters::LevelFilter;

    #[track_caller]
    fn check(level: LogLevel, most: LevelFilter, quieter: bool) {
        let text = directives(level);
        let filter = EnvFilter::new(&text);
        assert_eq!(filter.max_level_hint(), Some(most), "{text}");
        assert_eq!(text.contains("kube_client=error"), quieter, "{text}");
    }

    #[test]
    fn libraries_are_never_louder_than_the_controller() {
        check(LogLevel::Trace, LevelFilter::TRACE, true);
        check(LogLevel::Debug, LevelFilter::DEBUG, true);
        check(LogLevel::Info, LevelFilter::INFO, true);
        check(LogLevel::Error, LevelFilter::ERROR, false);
    }
}
