//! Whether this process still leads: asked when somebody else has written what only the leader writes.
//!
//! A process that was stopped for longer than its lease lasts goes on where it was, beside the next leader, until it
//! notices that it could not renew. Its fence keeps it from writing in that time; what it had sent before may still
//! arrive, and then the lease decides which of the two has to yield.
//!
//! What this module does not do: get or renew the lease, see [`runtime::lease`].

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use runtime::lease::Elected;
use runtime::process::Process;

/// What this process knows of its lead.
#[derive(Clone)]
pub struct Lead {
    /// The leases and what this process stands for; nothing without leader election.
    elected: Option<(Api<Lease>, Elected)>,
}

/// It cannot be said who leads.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    /// The lease cannot be read.
    #[error("cannot read the lease {0}: {1}")]
    Unread(String, #[source] kube::Error),
    /// The lease is gone or was released.
    #[error("nobody holds the lease {0}")]
    Free(String),
}

impl Lead {
    /// The lead of a process. Without leader election nobody else may run, and it lasts.
    pub fn of(process: &Process) -> Self {
        let leases = || Api::namespaced(process.client.clone(), &process.namespace);
        Lead {
            elected: process.elected.clone().map(|elected| (leases(), elected)),
        }
    }

    /// Whether this process holds the lease. What it read before asking was then not written by a next leader.
    ///
    /// # Errors
    /// A lease that cannot be read, or that nobody holds: then nothing is certain.
    pub async fn lasts(&self) -> Result<bool, Doubt> {
        let Some((leases, Elected { lease, identity })) = &self.elected else {
            return Ok(true);
        };
        let found = leases.get_opt(lease).await;
        let found = found.map_err(|error| Doubt::Unread(lease.clone(), error))?;
        held_by(found)
            .map(|holder| holder == *identity)
            .ok_or_else(|| Doubt::Free(lease.clone()))
    }
}

/// Who holds a lease. One that was released names an empty holder. The time does not count: as long as nobody else has
/// taken a lease that ran out, nobody else has begun to work.
fn held_by(lease: Option<Lease>) -> Option<String> {
    lease?.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    #[track_caller]
    fn check(holder: Option<&str>, expected: Option<&str>) {
        let lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(1),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        assert_eq!(held_by(Some(lease)).as_deref(), expected);
    }

    #[test]
    fn a_lease_is_held_by_whom_it_names() {
        check(Some("one_1"), Some("one_1"));
        check(Some(""), None);
        check(None, None);
        assert_eq!(held_by(None), None);
        assert_eq!(held_by(Some(Lease::default())), None);
    }
}
