//! The manifests and the Kustomizations that the cases are made of. Names hold an index, which a Kustomization
//! substitutes, so that any number of them can share a path.

use anyhow::Result;
use api::kustomize::Kustomization;
use serde_json::{Value, json};

/// The namespace of everything that is measured.
pub const NAMESPACE: &str = "bench";
/// The GitRepository.
pub const SOURCE: &str = "source";

/// ServiceAccount, Service, Deployment of no replicas and Ingress; another release changes all four.
pub fn application(name: &str, release: u32) -> String {
    format!(
        r#"apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
  annotations: {{ release: "{release}" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {{ release: "{release}" }}
spec:
  selector: {{ app: "{name}" }}
  ports:
  - {{ name: http, port: 80, targetPort: http, protocol: TCP }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{ app: "{name}" }}
  annotations: {{ release: "{release}" }}
spec:
  replicas: 0
  selector:
    matchLabels: {{ app: "{name}" }}
  template:
    metadata:
      labels: {{ app: "{name}" }}
    spec:
      serviceAccountName: {name}
      containers:
      - name: web
        image: registry.example.test/web:1.0.0
        ports:
        - {{ name: http, containerPort: 8080, protocol: TCP }}
        env:
        - {{ name: LEVEL, value: info }}
        resources:
          requests: {{ cpu: 10m, memory: 32Mi }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations: {{ release: "{release}" }}
spec:
  rules:
  - host: {name}.example.test
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: {name}
            port: {{ name: http }}
"#
    )
}

/// The name of an application with the index yet to be substituted.
pub const INDEXED: &str = "app-${index}";

/// Five applications: twenty objects.
pub fn twenty() -> String {
    let applications: Vec<String> = (1..=5).map(|n| application(&format!("{INDEXED}-{n}"), 1)).collect();
    applications.join("---\n")
}

/// A ConfigMap.
pub fn config_map(name: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  name: {name}
  level: info
"#
    )
}

/// A ConfigMap and a ServiceAccount.
pub fn pair() -> String {
    let map = config_map(INDEXED);
    format!("{map}---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {INDEXED}\n")
}

/// What a case wants its Kustomizations to be like.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// How many.
    pub count: usize,
    /// The path of the one with this index.
    pub path: fn(usize) -> String,
    /// `spec.interval`.
    pub interval: &'static str,
    /// Whether each depends on the one before it.
    pub chained: bool,
}

impl Fleet {
    /// This many with one path for all, which have no work at intervals.
    pub fn new(count: usize) -> Self {
        Self {
            count,
            path: |_| "./app".to_owned(),
            interval: "1h",
            chained: false,
        }
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        (0..self.count).map(name).collect()
    }

    /// The objects.
    pub fn objects(&self) -> Result<Vec<Kustomization>> {
        (0..self.count).map(|index| self.object(index)).collect()
    }

    fn object(&self, index: usize) -> Result<Kustomization> {
        let depends_on: Vec<Value> = match index.checked_sub(1) {
            Some(before) if self.chained => vec![json!({ "name": name(before) })],
            _ => Vec::new(),
        };
        Ok(serde_json::from_value(json!({
            "metadata": { "name": name(index), "namespace": NAMESPACE },
            "spec": {
                "interval": self.interval,
                // Else a reconcile that fails, as some of Flux's do in large cases, is tried again after an hour.
                "retryInterval": "10s",
                "path": (self.path)(index),
                "prune": true,
                "wait": true,
                "targetNamespace": NAMESPACE,
                "sourceRef": { "kind": "GitRepository", "name": SOURCE },
                "postBuild": { "substitute": { "index": suffix(index) } },
                "dependsOn": depends_on,
            },
        }))?)
    }
}

/// The name of a Kustomization.
fn name(index: usize) -> String {
    format!("ks-{}", suffix(index))
}

/// An index as it stands in names.
pub fn suffix(index: usize) -> String {
    format!("{index:05}")
}

/// A GitRepository for this address, looked at once an hour.
pub fn source(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "interval": "1h", "timeout": "5m", "url": url, "ref": { "branch": ::tests::repo::MAIN } },
    })
}
