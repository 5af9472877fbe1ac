//! The parts of the control plane and the command line of each. Everything listens on loopback alone; flags that only
//! make a small machine faster say so.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use super::Binaries;
use crate::port;
use crate::process::Spec;

/// A part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// Deployments, Jobs, namespaces, garbage collection, service accounts.
    ControllerManager,
    /// Binds pods to the node.
    Scheduler,
    /// Plays the node's kubelet.
    Kwok,
}

impl Part {
    /// Who needs the API server and is started after it.
    pub(super) const CLIENTS: [Part; 3] = [Part::ControllerManager, Part::Scheduler, Part::Kwok];

    /// Who is stopped together, and in which order: clients, then the API server, then etcd.
    pub(super) const STOP_ORDER: [&'static [Part]; 3] = [
        &[Part::Kwok, Part::Scheduler, Part::ControllerManager],
        &[Part::ApiServer],
        &[Part::Etcd],
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Etcd => "etcd",
            Part::ApiServer => "kube-apiserver",
            Part::ControllerManager => "kube-controller-manager",
            Part::Scheduler => "kube-scheduler",
            Part::Kwok => "kwok",
        })
    }
}

/// The ports that stay the same over restarts of parts.
#[derive(Debug)]
pub(super) struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
}

impl Ports {
    pub(super) fn free() -> Result<Self> {
        Ok(Self {
            api_server: port::free()?,
            etcd: port::free()?,
            etcd_peer: port::free()?,
        })
    }
}

/// Where the files of one control plane are, and its ports.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) binaries: Binaries,
    pub(super) ports: Ports,
    /// What a caller adds to the flags of the API server.
    pub(super) api_server_flags: Vec<String>,
}

impl Layout {
    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    /// How to start the part.
    pub(super) fn spec(&self, part: Part) -> Spec {
        let (program, mut args) = match part {
            Part::Kwok => (self.binaries.kwok.clone(), Vec::new()),
            _ => (
                self.binaries.control_plane.clone(),
                vec![OsString::from(part.to_string())],
            ),
        };
        args.extend(self.flags(part).into_iter().map(OsString::from));
        if part == Part::ApiServer {
            args.extend(self.api_server_flags.iter().map(OsString::from));
        }
        Spec {
            name: part.to_string(),
            program,
            args,
            env: vec![
                // The parts end when their standard input does.
                ("CONTROL_PLANE_STDIN_LIFELINE".into(), "1".into()),
                // Nothing of the user's own configuration.
                ("HOME".into(), self.dir.clone().into()),
                // Less garbage collection: the parts are short-lived.
                ("GOGC".into(), "200".into()),
            ],
            dir: self.dir.clone(),
            log: self.dir.join("logs").join(format!("{part}.log")),
        }
    }

    fn flags(&self, part: Part) -> Vec<String> {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let etcd = format!("http://127.0.0.1:{}", self.ports.etcd);
        let flag = |name: &str, value: &str| format!("--{name}={value}");
        match part {
            Part::Etcd => {
                let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
                vec![
                    flag("data-dir", &file("etcd")),
                    flag("listen-client-urls", &etcd),
                    flag("advertise-client-urls", &etcd),
                    flag("listen-peer-urls", &peer),
                    flag("initial-advertise-peer-urls", &peer),
                    flag("initial-cluster", &format!("default={peer}")),
                    flag("log-level", "error"),
                    "--unsafe-no-fsync".to_owned(),
                ]
            }
            Part::ApiServer => vec![
                flag("etcd-servers", &etcd),
                flag("bind-address", "127.0.0.1"),
                flag("advertise-address", "127.0.0.1"),
                flag("secure-port", &self.ports.api_server.to_string()),
                flag("tls-cert-file", &file("apiserver.crt")),
                flag("tls-private-key-file", &file("apiserver.key")),
                flag("client-ca-file", &file("ca.crt")),
                flag("authorization-mode", "RBAC"),
                flag("service-account-issuer", "https://kubernetes.default.svc"),
                flag("service-account-signing-key-file", &file("sa.key")),
                flag("service-account-key-file", &file("sa.pub")),
                flag("service-cluster-ip-range", "10.0.0.0/16"),
                // Nobody reaches the API server through the service `kubernetes`.
                flag("endpoint-reconciler-type", "none"),
                "--allow-privileged".to_owned(),
                "--profiling=false".to_owned(),
            ],
            Part::ControllerManager => vec![
                flag("kubeconfig", &file("controller-manager.kubeconfig")),
                flag("service-account-private-key-file", &file("sa.key")),
                flag("root-ca-file", &file("ca.crt")),
                flag("cluster-signing-cert-file", &file("ca.crt")),
                flag("cluster-signing-key-file", &file("ca.key")),
                "--use-service-account-credentials".to_owned(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                // A busy machine is no reason to take the only node away.
                "--node-monitor-grace-period=10m".to_owned(),
                // Many namespaces come and go at once.
                "--kube-api-qps=300".to_owned(),
                "--kube-api-burst=600".to_owned(),
            ],
            Part::Scheduler => vec![
                flag("kubeconfig", &file("scheduler.kubeconfig")),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=300".to_owned(),
                "--kube-api-burst=600".to_owned(),
            ],
            Part::Kwok => vec![
                flag("kubeconfig", &file("kwok.kubeconfig")),
                flag("config", &file("stages.yaml")),
                "--manage-all-nodes".to_owned(),
                // With a longer lease the node is taken for dead after 50 seconds.
                "--node-lease-duration-seconds=40".to_owned(),
            ],
        }
    }
}
