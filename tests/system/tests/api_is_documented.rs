//! The API says what its document says that it says, to the last field, and says what is wrong with a question.

use pkgtorrent_protocol::PeerId;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http;
use serde_json::{Value, json};

const API: &str = "/pkgtorrent/api/v1";

const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn site() -> Site {
    Site::start(&[("large.rpm", 3_000_000), ("small.rpm", 1_000)], "")
}

fn get(site: &Site, path: &str) -> (u16, Value) {
    let answer = http::get(site.service.addr(), &format!("{API}{path}"));
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    let json = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{path}: {e}"));
    (answer.status, json)
}

/// What a schema refers to, without the fields that it does not name: a field that nobody documented is found out.
fn closed(document: &Value) -> Value {
    let mut components = document["components"].clone();
    let text = components.to_string();
    for (name, schema) in components["schemas"].as_object_mut().expect("schemas") {
        let is_a_part = text.contains(&format!("{{\"$ref\":\"#/components/schemas/{name}\"}},{{"));
        if !is_a_part && (schema.get("properties").is_some() || schema.get("allOf").is_some()) {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    components
}

/// Panics unless an answer is what the document says that this path answers with this status.
fn assert_documented(document: &Value, template: &str, status: u16, answer: &Value) {
    let responses = &document["paths"][template]["get"]["responses"];
    let schema = &responses[status.to_string()]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{template} has no {status}: {responses}");
    let mut schema = schema.clone();
    schema["components"] = closed(document);
    let validator = jsonschema::validator_for(&schema).unwrap_or_else(|e| panic!("{template}: {e}"));
    let wrong: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(wrong, [""; 0], "{template} {status}: {answer:#}");
}

#[test]
fn every_answer_is_what_the_document_says() {
    let site = site();
    let plan = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    let (status, document) = get(&site, "/openapi.json");
    assert_eq!(status, 200);
    let (bundle, package) = (plan.bundles[0].info_hash.to_string(), site.packages[0].identity.to_string());
    let mut asked = Vec::new();
    for template in document["paths"].as_object().expect("paths").keys() {
        let path = template.replace("{info_hash}", &bundle).replace("{digest}", &package);
        let (status, answer) = get(&site, &path);
        assert_eq!(status, 200, "{path}: {answer}");
        assert_documented(&document, template, 200, &answer);
        let (status, answer) = get(&site, &format!("{path}?what=1"));
        assert_eq!((status, template), (400, template));
        assert_documented(&document, template, 400, &answer);
        asked.push(template.clone());
    }
    assert!(asked.iter().any(|path| path == "/swarms/{info_hash}"), "{asked:?}");
    for template in ["/swarms/{info_hash}", "/packages/{digest}"] {
        let path = template.replace("{info_hash}", &NOBODY[..40]).replace("{digest}", NOBODY);
        let (status, answer) = get(&site, &path);
        assert_eq!(status, 404, "{path}");
        assert_documented(&document, template, 404, &answer);
    }
}

#[test]
fn answers_say_what_there_is() {
    let site = site();
    let plan = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    let (_, swarms) = get(&site, "/swarms?order=size&limit=1");
    assert_eq!(
        (&swarms["live"], &swarms["matching"]),
        (&json!(plan.bundles.len()), &json!(plan.bundles.len()))
    );
    let swarm = &swarms["swarms"][0];
    assert_eq!((&swarm["largest"], &swarm["bytes"]), (&json!("large.rpm"), &json!(3_000_000)));
    assert_eq!((&swarm["complete"], &swarm["incomplete"]), (&json!(0), &json!(1)));
    assert_eq!(swarms["swarms"].as_array().map(Vec::len), Some(1));
    let (_, bundle) = get(&site, &format!("/swarms/{}", swarm["info_hash"].as_str().unwrap_or_default()));
    assert_eq!(bundle["swarm"], *swarm);
    assert_eq!(bundle["packages"][0]["sha256"], json!(site.packages[0].identity.to_string()));
    assert_eq!(bundle["sites"], json!([{ "site": null, "complete": 0, "incomplete": 1 }]));
    let leased: u64 = bundle["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .map(|cell| cell["leased"].as_u64())
        .map(Option::unwrap_or_default)
        .sum();
    assert_eq!((json!(leased), swarm["leased"].as_u64() > Some(0)), (swarm["leased"].clone(), true));
    let (_, found) = get(&site, "/packages?q=SMALL");
    assert_eq!((&found["total"], &found["matching"]), (&json!(2), &json!(1)));
    assert_eq!(found["packages"][0]["path"], json!("/repo/small.rpm"));
    let (_, package) = get(&site, &format!("/packages/{}", site.packages[1].identity));
    assert_eq!(package["paths"], json!(["/repo/small.rpm"]));
    assert_eq!(package["home"]["packages"], json!(1));
    let (_, nothing) = get(&site, "/swarms?q=nothing-like-this");
    assert_eq!((&nothing["live"], &nothing["matching"]), (&swarms["live"], &json!(0)));
}

#[test]
fn a_wrong_question_is_told_what_is_wrong_and_where() {
    let site = site();
    for (path, why) in [
        ("/swarms?limit=5000", r#"limit: "5000" is no number from 1 to 100"#),
        ("/swarms?order=%3Cb%3E", r#"order: "<b>" is none of peers, incomplete, size, absent"#),
        ("/packages?offset=x", r#"offset: "x" is no number from 0 to 10000000"#),
        ("/health?verbose=1", r#""verbose" is no parameter here; known: none"#),
    ] {
        assert_eq!(get(&site, path), (400, json!({ "error": why })), "{path}");
    }
    assert_eq!(get(&site, "/swarms/xyz"), (404, json!({ "error": "not found" })));
}
