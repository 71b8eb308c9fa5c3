#!/bin/sh
# Lints and renders every example and every ci/ set, and holds the manifests against Kubernetes' schemas at the oldest and newest
# version served. Needs helm (or $HELM) and kubernetes-validate 1.37.0; warnings are fatal but for the kinds of the two operators.
set -eu
cd "$(dirname "$0")/.."
HELM=${HELM:-helm}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for values in examples/*.yaml helm/sortie/ci/*.yaml; do
  "$HELM" lint --strict helm/sortie --values "$values" > "$out/lint" 2>&1 || { cat "$out/lint"; exit 1; }
  for version in 1.27 1.37; do
    "$HELM" template r helm/sortie --namespace ns --kube-version "$version.0" --values "$values" > "$out/all.yaml"
    kubernetes-validate --strict -k "$version" "$out/all.yaml" > "$out/said" 2>&1 || { cat "$out/said"; exit 1; }
    if grep -E 'WARN|ERROR' "$out/said" | grep -vE 'kind (ServiceMonitor|PrometheusRule|ScaledObject) ' | grep .; then
      echo "$values at $version: a kind without schema"; exit 1
    fi
  done
  echo "ok $values"
done
