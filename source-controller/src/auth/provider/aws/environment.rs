//! Who the controller is in AWS, as the environment of the process says.

use std::path::PathBuf;

use runtime::redact::Redacted;

use super::codecommit::Keys;

const CONTAINER: &str = "http://169.254.170.2";
const MACHINE: &str = "http://169.254.169.254";

/// Who the controller is in AWS, as the environment of the process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Where roles are taken (`AWS_ENDPOINT_URL_STS`, `AWS_ENDPOINT_URL`); that of the region where it is not set.
    sts: Option<String>,
    pub(super) controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    /// Keys (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
    Keys(Keys),
    /// The role that the token of the pod may take (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`,
    /// `AWS_ROLE_SESSION_NAME`).
    Pod {
        file: PathBuf,
        role: String,
        session: String,
    },
    /// An endpoint of the pod (`AWS_CONTAINER_CREDENTIALS_FULL_URI` or `…_RELATIVE_URI`) and what it wants to be told
    /// (`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `…_TOKEN`).
    Endpoint { url: String, proof: Proof },
    /// The role of the machine (`AWS_EC2_METADATA_SERVICE_ENDPOINT` says where else to ask).
    Machine { host: String },
    /// Nobody: `AWS_EC2_METADATA_DISABLED` is set, and nothing else.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    File(PathBuf),
    Is(Redacted<String>),
    None,
}

impl Environment {
    /// Reads the variables that AWS' libraries read.
    pub fn read(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let keys = || {
            Some(Controller::Keys(Keys {
                id: variable("AWS_ACCESS_KEY_ID")?,
                secret: Redacted::new(variable("AWS_SECRET_ACCESS_KEY")?),
                session: Redacted::new(variable("AWS_SESSION_TOKEN").unwrap_or_default()),
            }))
        };
        let pod = || {
            Some(Controller::Pod {
                file: variable("AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
                role: variable("AWS_ROLE_ARN")?,
                session: variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "source-controller".to_owned()),
            })
        };
        let endpoint = || {
            let url = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
                .map(|path| format!("{CONTAINER}{path}"))
                .or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"))?;
            let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|file| Proof::File(file.into()));
            let proof = file
                .or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|token| Proof::Is(Redacted::new(token))));
            Some(Controller::Endpoint {
                url,
                proof: proof.unwrap_or(Proof::None),
            })
        };
        let machine = || match variable("AWS_EC2_METADATA_DISABLED") {
            Some(text) if text.eq_ignore_ascii_case("true") => Controller::Nobody,
            _ => {
                let host = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| MACHINE.to_owned());
                Controller::Machine {
                    host: host.trim_end_matches('/').to_owned(),
                }
            }
        };
        Self {
            sts: variable("AWS_ENDPOINT_URL_STS").or_else(|| variable("AWS_ENDPOINT_URL")),
            controller: keys().or_else(pod).or_else(endpoint).unwrap_or_else(machine),
        }
    }

    /// Where roles are taken.
    pub(super) fn sts(&self, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let of_region = || format!("https://sts.{region}.amazonaws.com{suffix}");
        let endpoint = self.sts.clone().unwrap_or_else(of_region);
        format!("{}/", endpoint.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::testing::variables;

    fn check(set: &[(&str, &str)], expected: Controller) {
        assert_eq!(Environment::read(&variables(set, "")).controller, expected, "{set:?}");
    }

    #[test]
    fn the_environment_says_who_the_controller_is() {
        let machine = |host: &str| Controller::Machine { host: host.into() };
        check(&[], machine(MACHINE));
        check(
            &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]/")],
            machine("http://[fd00:ec2::254]"),
        );
        check(&[("AWS_EC2_METADATA_DISABLED", "true")], Controller::Nobody);
        let pod = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ];
        let of_pod = Controller::Pod {
            file: "/t".into(),
            role: "arn:aws:iam::1:role/r".into(),
            session: "source-controller".into(),
        };
        check(&pod, of_pod);
        let keys = Keys {
            id: "AKID".into(),
            secret: Redacted::new("s".into()),
            session: Redacted::new(String::new()),
        };
        let set = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "s")];
        check(&[&set[..], &pod].concat(), Controller::Keys(keys));
        let endpoint = |url: &str, proof| Controller::Endpoint { url: url.into(), proof };
        check(
            &[
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "http://169.254.170.23/v1/credentials",
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/eks"),
            ],
            endpoint("http://169.254.170.23/v1/credentials", Proof::File("/eks".into())),
        );
        check(
            &[
                ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "p"),
            ],
            endpoint("http://169.254.170.2/v2/x", Proof::Is(Redacted::new("p".into()))),
        );
    }

    #[test]
    fn roles_are_taken_in_the_region_or_where_the_environment_says() {
        let sts = |set: &[(&str, &str)], region: &str| Environment::read(&variables(set, "")).sts(region);
        assert_eq!(sts(&[], "eu-west-1"), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(sts(&[], "cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/");
        let own = ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1");
        assert_eq!(
            sts(&[own, ("AWS_ENDPOINT_URL", "http://x")], "a"),
            "http://127.0.0.1:1/"
        );
        assert_eq!(sts(&[("AWS_ENDPOINT_URL", "http://x/")], "a"), "http://x/");
    }
}
