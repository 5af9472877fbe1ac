//! Services. Whether a load balancer has an address does not matter.

use super::{Status, field};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Status {
    let balanced = field::text(object, "/spec/type") == "LoadBalancer";
    match balanced && field::text(object, "/spec/clusterIP").is_empty() {
        true => Status::in_progress("it has no address in the cluster"),
        false => Status::current("it is there"),
    }
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(spec: &str, expected: Kind, message: &str) {
        let fields = format!("spec: {spec}");
        crate::health::tests::check("apiVersion: v1, kind: Service", &fields, expected, message);
    }

    #[test]
    fn only_a_load_balancer_waits_for_its_address_in_the_cluster() {
        check(
            "{type: LoadBalancer}",
            Kind::InProgress,
            "it has no address in the cluster",
        );
        check(
            "{type: LoadBalancer, clusterIP: ''}",
            Kind::InProgress,
            "it has no address in the cluster",
        );
        check(
            "{type: LoadBalancer, clusterIP: 10.0.0.1}",
            Kind::Current,
            "it is there",
        );
        check("{type: ClusterIP}", Kind::Current, "it is there");
        check("{type: NodePort}", Kind::Current, "it is there");
        check("{type: ExternalName}", Kind::Current, "it is there");
        check("{}", Kind::Current, "it is there");
    }
}
