//! The page in a real Chromium: it shows what happens without being loaded anew, asks nobody but the service, and can be
//! read and used by anybody. Pictures of it are kept below `target/evidence`.

use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::report::{Fallback, FallbackReason, InstallReport, Ledger, Report};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::browser::{DESKTOP, ENTER, PHONE, TAB};
use pkgtorrent_test_support::http::{self, Request};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, Browser, ask};
use serde_json::json;

const FILES: [(&str, usize); 3] = [
    ("kernel-core-6.11.4.x86_64.rpm", 3_000_000),
    ("bash-5.2.32.x86_64.rpm", 700_001),
    ("vim-9.1.rpm", 400_000),
];

/// Names that would be markup, or a script, or half a page, if they were not text.
const HOSTILE: [&str; 4] = [
    "<img src=x onerror=document.title='hacked'>.rpm",
    "</table><script>document.title='hacked'<\u{2044}script>.rpm",
    "\"><svg onload=document.title='hacked'>.rpm",
    "'&lt;b&gt;&quot;\u{202e}mpr.rpm",
];

/// More than a page shows, and few enough to be made in a moment.
const SWARMS: usize = 200;

/// The most bytes of a page with all that it loads.
const PAGE_LEN_MAX: u64 = 300_000;

/// The page asks every other second.
const TWO_LOOKS: Duration = Duration::from_secs(5);

/// Two sites, and hosts in them, which a test speaks for.
const SITES: &str = r#"
    trusted_proxies = ["127.0.0.0/8"]
    sites = { berlin = ["10.1.0.0/16"], lyon = ["10.2.0.0/16"] }
"#;

/// A mirror whose hosts have reported an install each: twelve, of which one took a minute and was left a package.
fn busy() -> (Site, Plan) {
    let site = Site::start(&FILES, SITES);
    let plan = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    for host in 0..12 {
        let is_slow = host == 7;
        let bytes = Ledger {
            origin: if host == 0 { 40_000_000 } else { 1_000_000 },
            near: 30_000_000 + host * 1_000_000,
            far: if host % 2 == 1 { 6_000_000 } else { 0 },
            ..Ledger::default()
        };
        let fallback =
            Fallback { reason: FallbackReason::NotBrought, packages: 1, example: "vim-9.1.rpm: 504".into() };
        let install = InstallReport {
            number: 1,
            set: Some(plan.set),
            took: if is_slow { 61_000 } else { 2_000 + 137 * host as u32 },
            packages: 3,
            placed: if is_slow { 2 } else { 3 },
            bytes,
            fallbacks: if is_slow { vec![fallback] } else { Vec::new() },
            ..InstallReport::default()
        };
        let report = Report { program: "0.1.0".into(), bytes, installs: vec![install], ..Report::default() };
        let address = format!("10.{}.0.{host}", 1 + host % 2);
        ask::report_from(site.service.addr(), &address, report);
    }
    (site, plan)
}

fn open(site: &Site, path: &str) -> Browser {
    let browser = Browser::start();
    browser.open(&site.service.url(path));
    browser
}

/// Panics if the browser complained about anything, or asked anybody but the service.
fn assert_well(browser: &Browser, site: &Site) {
    assert_eq!(browser.complaints(), [""; 0]);
    let (requested, own) = (browser.requested(), site.service.url("/"));
    assert!(!requested.is_empty() && requested.iter().all(|url| url.starts_with(&own)), "{requested:?}");
}

/// Every text that can be read, with the contrast between its colour and what lies behind it, where that is too little.
const PALE_TEXTS: &str = r"
    const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = rgb(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const pale = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        seen += 1;
        const ratio = contrast(rgb(getComputedStyle(element).color), behind(element));
        if (ratio < 4.5) pale.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return seen > 5 ? pale : ['there is nothing to read'];
";

/// What is shown of itself that is wider than the window, and cannot be scrolled by itself.
const TOO_WIDE: &str = r"
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('main *')]
        .filter((element) => !element.closest('.scroll') && element.getBoundingClientRect().right > width)
        .map((element) => element.outerHTML.slice(0, 100));
";

#[test]
fn what_hosts_do_appears_without_loading_the_page_anew() {
    let site = Site::start(&FILES, "");
    let browser = open(&site, "/pkgtorrent/");
    browser.wait_until("document.querySelector('#swarms').textContent.includes('Nobody shares')");
    // What is in the page stays there, as long as it is not loaded anew.
    let _ = browser.eval("window.loaded = 'once'; document.querySelector('.chart details').open = true");
    let hosts = [Agent::new(), Agent::new()];
    for host in &hosts {
        let _ = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
    }
    browser.wait_until("document.querySelector('#swarms tbody')?.textContent.includes('kernel-core-6.11.4')");
    browser.wait_until("document.querySelector('#swarms tbody td:nth-child(4)')?.textContent === '2'");
    browser.wait_until("document.querySelector('.figure strong').textContent !== '0 B'");
    assert_eq!(browser.text("return window.loaded"), "once");
    assert_eq!(browser.eval("return document.querySelector('.chart details').open"), true, "it was unfolded");
    assert_well(&browser, &site);
}

#[test]
fn what_hosts_report_is_summed_up() {
    let (site, _) = busy();
    let browser = open(&site, "/pkgtorrent/");
    let figures =
        browser.eval("return [...document.querySelectorAll('.figure')].map((it) => it.textContent)");
    for (figure, shown) in [
        // 12 times 30 MB and 0 to 11 more from the same site, 6 times 6 from the other.
        (0, "The mirror was spared today462 MB90 % of 513 MB that hosts fetched"),
        (1, "This month462 MB90 %"),
        (2, "90 %513 MB in all"),
        (3, "Hosts1212 installs today, half of them within"),
    ] {
        assert!(figures[figure].as_str().is_some_and(|text| text.contains(shown)), "{shown}: {figures}");
    }
    let sites =
        browser.text("return document.querySelector('[aria-label=\"Hosts by site\"] tbody').textContent");
    assert!(sites.starts_with("berlin6") && sites.contains("lyon6"), "{sites}");
    let slowest = browser.text("return document.querySelector('[aria-label^=Slowest] tbody tr').textContent");
    assert!(slowest.starts_with("10.2.0.7 lyon1 min 1 s"), "{slowest}");
    let left = browser.text("return document.querySelector('[aria-label^=Lately] tbody').textContent");
    assert!(left.starts_with("10.2.0.7 lyon1nobody gave it in time (1): vim-9.1.rpm: 504"), "{left}");
    let stranger = Request::get("/pkgtorrent/").header("X-Forwarded-For", "203.0.113.7");
    let page = http::send(site.service.addr(), &stranger).expect_status(200).text();
    assert!(page.contains("462 MB") && !page.contains("10.2.0.7"), "strangers hear of no host");
    for class in ["origin", "near", "far"] {
        let bars = format!("return document.querySelectorAll('.chart path.{class}').length");
        assert_eq!(browser.eval(&bars), 1, "{class}");
    }
    let _ = browser.eval("document.querySelector('#history nav a:nth-child(3)').click()");
    browser.wait_until("location.search.includes('span=month')");
    browser.wait_until("document.querySelector('#history [aria-current]')?.textContent === '30 days'");
    assert_eq!(browser.eval("return document.querySelectorAll('#history tbody tr').length"), 30);
    assert_well(&browser, &site);
}

#[test]
fn it_can_be_read_in_any_light_and_on_a_phone() {
    let (site, plan) = busy();
    // Sets become packages every few seconds.
    let installed = "/pkgtorrent/api/v1/installs/packages";
    wait_for("packages that were installed", TWO_LOOKS * 4, || {
        (http::get(site.service.addr(), installed).text().len() > 10).then_some(())
    });
    let pages = [
        ("fleet", String::new()),
        ("bundle", format!("bundles/{}", plan.bundles[0].info_hash)),
        ("packages", "packages".into()),
        ("package", format!("packages/{}", site.packages[0].identity)),
    ];
    let browser = open(&site, "/pkgtorrent/");
    for (name, path) in pages {
        browser.open(&site.service.url(&format!("/pkgtorrent/{path}")));
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            assert_eq!(browser.eval(PALE_TEXTS), json!([]), "{name}, {scheme}");
            browser.keep_picture(&format!("page-{name}-{scheme}"));
        }
        browser.resize(PHONE);
        assert_eq!(browser.eval(TOO_WIDE), json!([]), "{name}");
        browser.keep_picture(&format!("page-{name}-phone"));
        browser.resize(DESKTOP);
    }
    assert_well(&browser, &site);
}

#[test]
fn it_can_be_used_with_a_keyboard_alone() {
    let site = Site::start(&FILES, "");
    let _ = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    let browser = open(&site, "/pkgtorrent/");
    let focused = || browser.text("return document.activeElement.textContent || document.activeElement.name");
    browser.press(TAB);
    assert_eq!(focused(), "Skip to the content");
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.text(outline), "solid", "where one is can be seen");
    browser.press(ENTER);
    let tab_to = |what: &str| {
        for _ in 0..40 {
            browser.press(TAB);
            if focused() == what {
                return;
            }
        }
        panic!("{what:?} is not reached");
    };
    tab_to("q");
    browser.press("bash");
    browser.wait_until("location.search.includes('q=bash')");
    browser.wait_until("document.querySelectorAll('#swarms tbody tr').length === 1");
    // The table has changed twice since, and what was typed is where it was.
    browser.press("-5");
    browser.wait_until("location.search.includes('q=bash-5')");
    assert_eq!(browser.text("return document.activeElement.value"), "bash-5");
    tab_to("bash-5.2.32.x86_64.rpm");
    browser.press(ENTER);
    browser.wait_until("document.title.startsWith('bash') && location.pathname.includes('/bundles/')");
    tab_to("vim-9.1.rpm");
    browser.press(ENTER);
    browser.wait_until("document.title.startsWith('vim') && location.pathname.includes('/packages/')");
    assert_well(&browser, &site);
}

#[test]
fn a_service_that_is_away_is_missed_and_its_return_noticed() {
    let mut site = Site::start(&FILES, "");
    let browser = open(&site, "/pkgtorrent/");
    let notice = "document.getElementById('notice').textContent";
    assert_eq!(browser.text(&format!("return {notice}")), "");
    site.service.stop();
    browser.wait_until(&format!("{notice}.startsWith('The service has not answered since')"));
    browser.wait_until("document.querySelector('#swarms').textContent.includes('Nobody shares')");
    site.service.restart();
    let _ = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    browser.wait_until(&format!("{notice} === ''"));
    browser.wait_until("document.querySelector('#swarms tbody')?.textContent.includes('kernel-core')");
}

#[test]
fn who_does_not_look_does_not_ask() {
    let site = Site::start(&FILES, "");
    let browser = open(&site, "/pkgtorrent/");
    let look = |hidden: bool| {
        let _ = browser.eval(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
             document.dispatchEvent(new Event('visibilitychange'));"
        ));
    };
    wait_for("another look", TWO_LOOKS, || (!browser.requested().is_empty()).then_some(()));
    look(true);
    std::thread::sleep(TWO_LOOKS / 4);
    let _ = browser.requested();
    std::thread::sleep(TWO_LOOKS);
    assert_eq!(browser.requested(), [""; 0]);
    look(false);
    wait_for("another look", TWO_LOOKS, || (!browser.requested().is_empty()).then_some(()));
}

#[test]
fn hostile_names_stay_text() {
    let files = HOSTILE.map(|name| (name, 20_000));
    let site = Site::start(&files, "");
    let plan = ask::post_set_as(site.service.addr(), &site.digests(), 6881, PeerId([b'p'; 20]));
    let fallback = Fallback { packages: 1, example: HOSTILE[0].into(), ..Fallback::default() };
    let install =
        InstallReport { number: 1, packages: 1, fallbacks: vec![fallback], ..InstallReport::default() };
    let report = Report { program: HOSTILE[2].into(), installs: vec![install], ..Report::default() };
    ask::report_from(site.service.addr(), "10.1.0.1", report);
    let browser = open(&site, "/pkgtorrent/");
    let left = "return document.querySelector('[aria-label^=Lately] tbody').textContent";
    assert!(browser.text(left).contains(HOSTILE[0]), "{}", browser.text(left));
    let pages = [
        "?q=%22%3E%3Cscript%3Edocument.title=%27hacked%27%3C/script%3E".into(),
        format!("bundles/{}", plan.bundles[0].info_hash),
        "packages?q=%22%3E%3Cscript%3Edocument.title=%27hacked%27%3C/script%3E".into(),
        "packages".into(),
    ];
    for path in pages {
        browser.open(&site.service.url(&format!("/pkgtorrent/{path}")));
        let strangers =
            "return document.querySelectorAll('main script, main img, svg[onload], main b').length";
        assert_eq!(browser.eval(strangers), 0, "{path}");
    }
    for name in HOSTILE {
        let shown = format!("return document.querySelector('main').textContent.includes({})", json!(name));
        assert_eq!(browser.eval(&shown), true, "{name}");
    }
    for package in &site.packages {
        browser.open(&site.service.url(&format!("/pkgtorrent/packages/{}", package.identity)));
        assert_eq!(browser.text("return document.querySelector('h1').textContent"), package.file_name());
        assert!(browser.text("return document.title").ends_with(" · pkgtorrent"));
    }
    assert_well(&browser, &site);
}

#[test]
fn many_swarms_are_searched_and_leafed_through() {
    let names: Vec<String> = (0..SWARMS).map(|n| format!("package-{n:04}-1.0-1.noarch.rpm")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 2_000)).collect();
    let site = Site::start(&files, "announces_burst = 1000000");
    // Each of them has its home to itself, since nobody has asked for any other with it.
    for package in &site.packages {
        ask::post_set_as(site.service.addr(), &[package.identity.into()], 6881, PeerId([b'p'; 20]));
    }
    let browser = open(&site, "/pkgtorrent/");
    let rows = "document.querySelectorAll('#swarms tbody tr').length";
    assert_eq!(browser.eval(&format!("return {rows}")), 50);
    let pager = "return document.querySelector('#swarms .pager').textContent";
    assert_eq!(browser.text(pager), format!("1–50 of {SWARMS}Next →"));
    let bytes = browser.eval(
        "return ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))
            .reduce((sum, entry) => sum + entry.transferSize, 0)",
    );
    assert!(bytes.as_u64().is_some_and(|bytes| (1_000..PAGE_LEN_MAX).contains(&bytes)), "{bytes}");
    let _ = browser.eval("document.querySelector('#swarms [rel=next]').click()");
    browser.wait_until("document.querySelector('#swarms .pager')?.textContent.includes('51–100')");
    let _ = browser.eval("const q = document.querySelector('[name=q]'); q.focus(); q.select()");
    browser.press("package-0042");
    browser.wait_until(&format!("{rows} === 1"));
    browser.wait_until("document.querySelector('#swarms tbody th').textContent.startsWith('package-0042')");
    assert_well(&browser, &site);
}
