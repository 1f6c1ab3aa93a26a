//! The API says what its document says that it says, to the last field, and says what is wrong with a question.

use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::report::{Fallback, FallbackReason, InstallReport, Ledger, Report};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::{self, Request};
use pkgtorrent_test_support::process::wait_for;
use serde_json::{Value, json};

const API: &str = "/pkgtorrent/api/v1";

const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn site() -> Site {
    let proxied = r#"trusted_proxies = ["127.0.0.0/8"]"#;
    Site::start(&[("large.rpm", 3_000_000), ("small.rpm", 1_000)], proxied)
}

/// One host that has installed everything but one package, and one that has installed all.
fn report(site: &Site, plan: &Plan) {
    let fallback = Fallback { reason: FallbackReason::NoRoom, packages: 1, example: "full".into() };
    for (host, fallbacks) in [vec![fallback], vec![]].into_iter().enumerate() {
        let placed = 2 - fallbacks.len() as u32;
        let (set, packages) = (Some(plan.set), 2);
        let install = InstallReport {
            number: 1,
            set,
            took: 900,
            packages,
            placed,
            fallbacks,
            ..InstallReport::default()
        };
        let bytes = Ledger { origin: 5, near: 6, far: 7, store: 8, sent: 9 };
        let report = Report { program: "1.2.3".into(), bytes, installs: vec![install], ..Report::default() };
        ask::report_from(site.service.addr(), &format!("10.1.0.{host}"), report);
    }
    // Sets become packages every few seconds.
    wait_for("packages that were installed", Duration::from_secs(20), || {
        (get(site, "/installs/packages").1 != json!([])).then_some(())
    });
}

fn get(site: &Site, path: &str) -> (u16, Value) {
    let answer = http::get(site.service.addr(), &format!("{API}{path}"));
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    let json = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{path}: {e}"));
    (answer.status, json)
}

/// What schemas refer to, closed: a field that nobody documented is found out.
fn closed(document: &Value) -> Value {
    let mut components = document["components"].clone();
    let schemas = components["schemas"].as_object_mut().expect("schemas");
    // Whoever has the fields of another among its own closes both.
    let parts = schemas.values().filter_map(|schema| schema["allOf"].as_array()).flatten();
    let parts: Vec<String> = parts.filter_map(|part| Some(part["$ref"].as_str()?.to_owned())).collect();
    for (name, schema) in schemas {
        let is_a_part = parts.iter().any(|part| part.ends_with(&format!("/{name}")));
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
    report(&site, &plan);
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
    assert_eq!(swarm["first_copies"], json!(0), "nothing has left the mirror");
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
        ("/overview?verbose=1", r#""verbose" is no parameter here; known: none"#),
        ("/history?hours=0", r#"hours: "0" is no number from 1 to 744"#),
        ("/installs/slowest?days=32", r#"days: "32" is no number from 1 to 31"#),
    ] {
        assert_eq!(get(&site, path), (400, json!({ "error": why })), "{path}");
    }
    let not_found = (404, json!({ "error": "not found" }));
    assert_eq!(get(&site, "/swarms/xyz"), not_found);
    assert_eq!(get(&site, "/history?site=nowhere"), not_found);
    // The machine is trusted as a proxy; a host that no network has is a stranger.
    for path in ["/installs/slowest", "/installs/fallbacks"] {
        let request = Request::get(&format!("{API}{path}")).header("X-Forwarded-For", "203.0.113.7");
        let answer = http::send(site.service.addr(), &request).expect_status(403).text();
        assert!(answer.contains("inside of peer_networks only"), "{answer}");
    }
    let silent = Site::start(&[], "accounts = false");
    let reason = "no accounts are kept here: see `accounts` in service.toml";
    assert_eq!(get(&silent, "/sites"), (404, json!({ "error": reason })));
    assert_eq!(get(&silent, "/overview").1["fleet"], Value::Null);
}
