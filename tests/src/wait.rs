//! Waiting for conditions, never for time: a closure polled at short intervals, or an object watched, until a deadline
//! whose error tells what was awaited and what was there instead.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

/// The environment variable for the deadline of every wait, in seconds.
pub const PATIENCE: &str = "SLUICE_TEST_PATIENCE";

/// How long a wait pauses between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a wait may take: 60 seconds, or what `SLUICE_TEST_PATIENCE` says. Long enough for two busy cores; waits end
/// as soon as their condition holds.
pub fn patience() -> Duration {
    let seconds = std::env::var(PATIENCE).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Calls `probe` until it returns a value. Its errors are taken for passing and told at the deadline.
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(patience(), what, probe).await
}

/// [`until`] with a deadline of its own.
pub async fn until_within<T>(limit: Duration, what: &str, probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    until_every(PAUSE, limit, what, probe).await
}

/// [`until_within`] with a pause of its own between calls, for probes that cost those who are watched something.
pub async fn until_every<T>(
    pause: Duration,
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let (start, mut looks) = (Instant::now(), tokio::time::interval(pause));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let rest = limit.saturating_sub(start.elapsed());
        let last_error = match tokio::time::timeout(rest.max(Duration::from_millis(200)), probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("the last try got no answer".to_owned()),
        };
        if start.elapsed() >= limit {
            let why = last_error.map(|error| format!(": {error}")).unwrap_or_default();
            bail!("waited {limit:?} in vain for {what}{why}");
        }
    }
}

/// [`until_within`] for threads that cannot wait otherwise. An error of the probe ends the wait.
pub fn blocking<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Watches the object until `condition` holds for it, and returns it. `None` is passed to the condition while the
/// object does not exist.
pub async fn object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    mut condition: impl FnMut(Option<&K>) -> bool,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let mut seen = Seen::Nothing;
    let watch = async {
        let mut stream = std::pin::pin!(watch_object(api.clone(), name).default_backoff());
        while let Some(event) = stream.next().await {
            match event {
                Ok(object) if condition(object.as_ref()) => return Some(object),
                Ok(Some(object)) => seen = Seen::Object(Box::new(object)),
                Ok(None) => seen = Seen::Absent,
                Err(error) => seen = Seen::Error(error.to_string()),
            }
        }
        None
    };
    let limit = patience();
    if let Ok(Some(object)) = tokio::time::timeout(limit, watch).await {
        return Ok(object);
    }
    let instead = match seen {
        Seen::Nothing => "nothing came from the API server".to_owned(),
        Seen::Absent => "it does not exist".to_owned(),
        Seen::Error(error) => format!("the watch failed: {error}"),
        Seen::Object(object) => format!("the last seen object:\n{}", yaml(object.as_ref())),
    };
    bail!("waited {limit:?} in vain for {name} to {what}; {instead}")
}

enum Seen<K> {
    Nothing,
    Absent,
    Error(String),
    Object(Box<K>),
}

/// Waits until the object does not exist.
pub async fn gone<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    object(api, name, "be gone", |object| object.is_none())
        .await
        .map(|_| ())
}

/// An object as YAML for people, without its managed fields.
pub fn yaml(object: &impl Serialize) -> String {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    serde_yaml::to_string(&value).unwrap_or_else(|error| format!("(cannot be shown: {error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[tokio::test]
    async fn a_wait_ends_with_the_first_value() -> Result<()> {
        let mut tries = 0;
        let value = until("three tries", async || {
            tries += 1;
            if tries < 2 {
                Err(anyhow!("not yet"))
            } else {
                Ok((tries == 3).then_some(tries))
            }
        })
        .await?;
        assert_eq!(value, 3);
        Ok(())
    }

    #[tokio::test]
    async fn a_wait_in_vain_tells_what_for_and_why() {
        let limit = Duration::from_millis(100);
        let result: Result<()> = until_within(limit, "a miracle", async || Err(anyhow!("none in stock"))).await;
        let error = result.err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("waited 100ms in vain for a miracle: none in stock")
        );
    }
}
