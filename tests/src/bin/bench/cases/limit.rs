//! What the API server takes for the applies and for the deletions alone: the same objects, dry-run, applied and deleted by a
//! bare client.

use ::tests::cluster::documents;
use ::tests::kubeconfig;
use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::Run;
use crate::report::Row;
use crate::sample::{NAMESPACE, application, suffix};
use crate::stage::{ADMINISTRATORS, BARE_CLIENT, BENCH};

/// How many requests are in flight.
const IN_FLIGHT: usize = 20;

/// An object that is applied.
struct Object {
    api: Api<DynamicObject>,
    name: String,
    content: Value,
}

/// So many objects: all of them dry-run first, then all applied; and then, for `deletion`, all deleted.
pub async fn run(mut run: Run<'_>, case: &'static str, deletion: &'static str, count: usize) -> Result<()> {
    let user = run
        .stage
        .cluster
        .control_plane()?
        .user(BARE_CLIENT, Some(ADMINISTRATORS))?;
    let client = kubeconfig::client(&user, None).await?;
    let mut objects = Vec::new();
    for index in 0..count.div_ceil(4) {
        for object in documents(&application(&format!("app-{}", suffix(index)), 1))? {
            let text = |field: &Value| field.as_str().map(str::to_owned);
            let (version, kind) = text(&object["apiVersion"])
                .zip(text(&object["kind"]))
                .ok_or_else(|| anyhow!("a document has no kind"))?;
            let name = text(&object["metadata"]["name"]).unwrap_or_default();
            let (group, version) = version.split_once('/').unwrap_or(("", &version));
            let plural = match kind.as_str() {
                "Ingress" => "ingresses".to_owned(),
                kind => format!("{}s", kind.to_lowercase()),
            };
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &kind), &plural);
            objects.push(Object {
                api: Api::namespaced_with(client.clone(), NAMESPACE, &resource),
                name,
                content: object,
            });
        }
    }
    run.stage.settle().await;
    let span = run.stage.measure()?;
    for dry_run in [true, false] {
        let mut params = PatchParams::apply(BENCH).force();
        params.dry_run = dry_run;
        let params = &params;
        let apply = async |Object { api, name, content }: &Object| -> Result<()> {
            let result = api.patch(name, params, &Patch::Apply(content)).await;
            result.map(|_| ()).with_context(|| format!("cannot apply {name}"))
        };
        futures::stream::iter(&objects)
            .map(apply)
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
    }
    let cost = run.stage.cost(span).await?;
    run.keep(Row::new(case, BARE_CLIENT, objects.len()).costing(cost));
    if run.wanted.has(deletion) {
        delete(&mut run, deletion, &objects).await?;
    }
    Ok(())
}

async fn delete(run: &mut Run<'_>, case: &'static str, objects: &[Object]) -> Result<()> {
    run.stage.settle().await;
    let span = run.stage.measure()?;
    let params = DeleteParams::background();
    let delete = async |Object { api, name, .. }: &Object| -> Result<()> {
        let result = api.delete(name, &params).await;
        result.map(|_| ()).with_context(|| format!("cannot delete {name}"))
    };
    futures::stream::iter(objects)
        .map(delete)
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let cost = run.stage.cost(span).await?;
    run.keep(Row::new(case, BARE_CLIENT, objects.len()).costing(cost));
    Ok(())
}
