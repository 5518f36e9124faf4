//! The action table as JSON: the source of the console's forms, the docs and the conformance check.

use crate::{
    action::{Access, Api, CAM, CLOUDAUDIT, Entry, KMS, STS, TAG},
    entries,
    schema::{Field, Object, Type},
};
use serde_json::{Map, Value, json};

/// A file that the table of a product's actions is exported to.
pub struct Export {
    /// Its name, in `api/`.
    pub file: &'static str,
    api: &'static Api,
}

/// The tables of all products.
pub static EXPORTS: &[Export] = &[
    Export { file: "actions.json", api: &KMS },
    Export { file: "tag-actions.json", api: &TAG },
    Export { file: "cam-actions.json", api: &CAM },
    Export { file: "sts-actions.json", api: &STS },
    Export { file: "cloudaudit-actions.json", api: &CLOUDAUDIT },
];

impl Export {
    /// The table as it must stand in the file.
    pub fn json(&self) -> String {
        export(self.api)
    }
}

/// The table, pretty-printed with sorted names and a final newline, so that a stale copy shows as a diff.
fn export(api: &Api) -> String {
    let mut actions = Map::new();
    let mut types = Map::new();
    for entry in entries().filter(|e| e.api == api) {
        let spec = entry.spec;
        let mut response = fields(entry.response, &mut types);
        response.push(json!({
            "name": "RequestId", "type": "string",
            "doc": { "en": "Id of the request.", "zh": "请求 ID。" },
        }));
        let mut errors: Vec<_> = spec.errors.iter().map(|code| code.wire()).collect();
        errors.sort_unstable();
        let access = match spec.access {
            Access::Read => "read",
            Access::Use => "use",
            Access::Write => "write",
        };
        actions.insert(
            spec.name.to_owned(),
            json!({
                "doc": { "en": spec.doc.0, "zh": spec.doc.1 },
                "permission": format!("{}:{}", api.service, spec.name),
                "resource": resource(entry),
                "access": access,
                "request": fields(entry.request, &mut types),
                "response": response,
                "errors": errors,
            }),
        );
    }
    let table = json!({ "service": api.service, "version": api.version, "actions": actions, "types": types });
    // serde_json's default map is sorted by name.
    format!("{table:#}\n")
}

/// The kinds of resources that an action is authorised on, `*` where it is on none in particular.
fn resource(entry: &Entry) -> String {
    if entry.resources.is_empty() {
        return "*".to_owned();
    }
    let kinds: Vec<_> = entry.resources.iter().map(|prefix| prefix.trim_end_matches('/')).collect();
    kinds.join(",")
}

fn fields(list: &'static [Field], types: &mut Map<String, Value>) -> Vec<Value> {
    list.iter()
        .map(|f| {
            note_objects(&f.ty, types);
            let mut out = Map::new();
            out.insert("name".into(), f.name.into());
            out.insert("type".into(), f.ty.wire().into());
            if f.required {
                out.insert("required".into(), true.into());
            }
            if f.nullable {
                out.insert("nullable".into(), true.into());
            }
            out.insert("doc".into(), json!({ "en": f.doc.0, "zh": f.doc.1 }));
            Value::Object(out)
        })
        .collect()
}

fn note_objects(ty: &'static Type, types: &mut Map<String, Value>) {
    match ty {
        Type::List(item) => note_objects(item, types),
        Type::Object(Object { name, fields: members }) if !types.contains_key(*name) => {
            types.insert((*name).to_owned(), Value::Null);
            let members = fields(members, types);
            types.insert((*name).to_owned(), Value::Array(members));
        }
        _ => {}
    }
}
