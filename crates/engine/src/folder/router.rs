//! Router: one chain of modules a role, by `router_config.json` (once `config.json`, and once called Asym).

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::keys::FileKeys;
use crate::{error::LoadError, task::Role};

/// What a router's file says.
#[derive(Clone, Debug)]
pub(super) struct Router {
    /// Class of each module, by its folder below the router's.
    pub(super) types: BTreeMap<String, String>,
    /// Modules of each route, in order.
    pub(super) routes: Vec<(String, Vec<String>)>,
    default: Option<String>,
    mappings: Vec<(Option<String>, Option<String>, String)>,
    /// Its file.
    path: std::path::PathBuf,
}

/// What all inputs here are.
const MODALITY: &str = "text";

impl Router {
    /// Reads the router in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("router_config.json");
        let old = folder.join("config.json");
        let mut keys = match FileKeys::read(&path)? {
            Some(keys) => keys,
            None => FileKeys::read(&old)?
                .ok_or_else(|| LoadError::invalid(&path, "the router's configuration is missing"))?,
        };
        let types = keys.need::<BTreeMap<String, String>>("types")?;
        // The first route is the default where none is named: their order counts.
        let structure = keys.need::<serde_json::Map<String, Value>>("structure")?;
        let order = ordered_routes(keys.path())?;
        let mut parameters = keys.inner("parameters")?;
        keys.none_left()?;
        let at = |key: &str| format!("parameters.{key}");
        let default = parameters.take::<String>(&at("default_route"))?;
        let empty = parameters.take::<bool>(&at("allow_empty_key"))?.unwrap_or(true);
        let written = parameters.take::<BTreeMap<String, String>>(&at("route_mappings"))?.unwrap_or_default();
        parameters.none_left()?;

        let mut routes = Vec::new();
        for name in order.iter().filter(|name| structure.contains_key(*name)) {
            let modules: Vec<String> = structure
                .get(name)
                .and_then(|v| serde_json::from_value(v.clone()).ok())
                .ok_or_else(|| LoadError::invalid(keys.path(), format!("structure.{name} is no list of modules")))?;
            if let Some(unknown) = modules.iter().find(|m| !types.contains_key(*m)) {
                return Err(LoadError::invalid(
                    keys.path(),
                    format!("structure.{name} has {unknown:?}, which types does not"),
                ));
            }
            if modules.is_empty() {
                return Err(LoadError::invalid(keys.path(), format!("structure.{name} is empty")));
            }
            routes.push((name.clone(), modules));
        }
        if routes.is_empty() {
            return Err(LoadError::invalid(keys.path(), "structure has no route"));
        }
        let default = default.or_else(|| empty.then(|| routes[0].0.clone()));
        let mut mappings = Vec::new();
        for (key, route) in written {
            let (task, modality) = mapping(&key).ok_or_else(|| {
                keys.refused("parameters.route_mappings", &json!(key), "pairs of a task and a modality are")
            })?;
            mappings.push((task, modality, route));
        }
        let router = Self { types, routes, default, mappings, path: keys.path().to_owned() };
        for route in router.default.iter().chain(router.mappings.iter().map(|(_, _, route)| route)) {
            if !router.routes.iter().any(|(name, _)| name == route) {
                return Err(LoadError::invalid(&router.path, format!("the route {route:?} is not in structure")));
            }
        }
        Ok(router)
    }

    /// The route of a role, as the library resolves it; `None` where it would refuse the text.
    pub(super) fn resolve(&self, role: Option<Role>) -> Option<&str> {
        let task = role.map(Role::name);
        let mapped = |task: Option<&str>, modality: Option<&str>| {
            let found = self.mappings.iter().find(|(t, m, _)| t.as_deref() == task && m.as_deref() == modality);
            found.map(|(_, _, route)| route.as_str())
        };
        let named = |name: &str| self.routes.iter().map(|(n, _)| n.as_str()).find(|n| *n == name);
        mapped(task, Some(MODALITY))
            .or_else(|| mapped(task, None))
            .or_else(|| mapped(None, Some(MODALITY)))
            .or_else(|| mapped(None, None))
            .or_else(|| task.and_then(named))
            .or_else(|| named(MODALITY))
            .or_else(|| if task.is_none() { self.default.as_deref() } else { None })
    }
}

/// Names of the routes in the order of the file, which serde_json's map does not keep.
fn ordered_routes(path: &Path) -> Result<Vec<String>, LoadError> {
    struct Order(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Order {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Order;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Order, A::Error> {
                    let mut order = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        order.push(name);
                    }
                    Ok(Order(order))
                }
            }
            d.deserialize_map(Visitor)
        }
    }
    #[derive(serde::Deserialize)]
    struct File {
        structure: Order,
    }
    super::read_json::<File>(path).map(|file| file.structure.0)
}

/// A key like `('query', 'text')` or `(None, 'text')`; modalities of several kinds are not for text.
fn mapping(key: &str) -> Option<(Option<String>, Option<String>)> {
    let inner = key.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (task, modality) = inner.split_once(',')?;
    let part = |text: &str| match text.trim().trim_matches(['(', ')', ',', ' ']) {
        "None" => Some(None),
        quoted => {
            let name = quoted.strip_prefix(['\'', '"'])?.strip_suffix(['\'', '"'])?;
            Some(Some(name.to_owned()))
        }
    };
    Some((part(task)?, part(modality)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(text: &str) -> Result<Router, LoadError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("router_config.json"), text).unwrap();
        Router::read(folder.path())
    }

    const BODY: &str = r#""types": {"a": "x.A", "": "x.B"}, "structure": {"query": ["a"], "document": [""]}"#;

    #[test]
    fn roles_find_their_routes_as_the_library_resolves_them() {
        let plain = router(&format!("{{{BODY}, \"parameters\": {{}}}}")).unwrap();
        let of = |r: &Router, role| r.resolve(role).map(str::to_owned);
        assert_eq!(of(&plain, Some(Role::Query)).as_deref(), Some("query"));
        assert_eq!(of(&plain, Some(Role::Document)).as_deref(), Some("document"));
        assert_eq!(of(&plain, None).as_deref(), Some("query"), "the first where no default is named");
        let named = router(&format!("{{{BODY}, \"parameters\": {{\"default_route\": \"document\"}}}}")).unwrap();
        assert_eq!(of(&named, None).as_deref(), Some("document"));
        let strict = router(&format!("{{{BODY}, \"parameters\": {{\"allow_empty_key\": false}}}}")).unwrap();
        assert_eq!(of(&strict, None), None);
        let mapped = router(&format!(
            "{{{BODY}, \"parameters\": {{\"route_mappings\": {{\"('document', None)\": \"query\", \"(None, 'text')\": \"document\"}}}}}}"
        ))
        .unwrap();
        assert_eq!(of(&mapped, Some(Role::Document)).as_deref(), Some("query"));
        assert_eq!(of(&mapped, Some(Role::Query)).as_deref(), Some("document"));
    }

    #[test]
    fn routes_that_lead_nowhere_are_refused() {
        for (parameters, want) in [
            (r#"{"default_route": "other"}"#, "other"),
            (r#"{"route_mappings": {"('query', None)": "gone"}}"#, "gone"),
            (r#"{"route_mappings": {"query": "query"}}"#, "route_mappings"),
            (r#"{"temperature": 2}"#, "temperature"),
        ] {
            let error = router(&format!("{{{BODY}, \"parameters\": {parameters}}}")).unwrap_err().to_string();
            assert!(error.contains(want) && error.contains("router_config.json"), "{error}");
        }
        let error = router(r#"{"types": {}, "structure": {"query": ["a"]}, "parameters": {}}"#).unwrap_err();
        assert!(error.to_string().contains("\"a\""), "{error}");
    }
}
