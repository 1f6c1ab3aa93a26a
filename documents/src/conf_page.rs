//! The pages on configuration files.

use pkgtorrent_agent::settings as agent_settings;
use pkgtorrent_server::settings as service_settings;
use pkgtorrent_settings::{KeyDoc, manual_of_sources, manual_section, roff};

use crate::DATE;

struct Page<'a> {
    name: &'a str,
    about: &'a str,
    program: &'a str,
    section: &'a str,
    unit: &'a str,
    file: &'a str,
    prefix: &'a str,
    keys: &'a [KeyDoc],
}

/// pkgtorrent.conf(5).
pub(crate) fn agent() -> String {
    page(&Page {
        name: "pkgtorrent.conf",
        about: "configuration of pkgtorrent on a host",
        program: "pkgtorrent",
        section: "1",
        unit: "pkgtorrent-agent",
        file: agent_settings::DEFAULT_CONFIG,
        prefix: agent_settings::VARIABLES_PREFIX,
        keys: agent_settings::KEY_DOCS,
    })
}

/// pkgtorrent-service.conf(5).
pub(crate) fn service() -> String {
    page(&Page {
        name: "pkgtorrent-service.conf",
        about: "configuration of pkgtorrent-service",
        program: "pkgtorrent-service",
        section: "8",
        unit: "pkgtorrent-service",
        file: service_settings::DEFAULT_CONFIG,
        prefix: service_settings::VARIABLES_PREFIX,
        keys: service_settings::KEY_DOCS,
    })
}

fn page(page: &Page) -> String {
    let (name, program, unit) = (roff(page.name), roff(page.program), roff(page.unit));
    let title = name.to_uppercase();
    let mut text = format!(
        ".TH {title} 5 {DATE}\n.SH NAME\n{name} \\- {about}\n.SH SYNOPSIS\n.I {file}\n.SH DESCRIPTION\n",
        about = page.about,
        file = roff(page.file),
    );
    text.push_str(&manual_of_sources(page.file, page.prefix));
    text.push_str(&format!(
        ".PP\n.B {program} config\nshows what counts and where it is from,\n.B {program} check\nwhat is wrong with it.\n\
         .SS Reload\nAt a SIGHUP, which is what\n.B systemctl reload {unit}\nsends, all of this is read again. Keys that take\n\
         a restart stay as they are until then, and the log says so. If anything is wrong, all keys stay as they are.\n",
    ));
    text.push_str(&manual_section(page.keys));
    text.push_str(&format!(".SH SEE ALSO\n.BR {program} ({})\n", page.section));
    text
}
