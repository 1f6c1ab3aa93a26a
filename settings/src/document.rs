//! What is made from the keys' documentation.

use crate::KeyDoc;

/// The default configuration file: the header, each line of it as a comment, then every key with what it means,
/// commented out.
#[must_use]
pub fn default_file(header: &str, keys: &[KeyDoc]) -> String {
    let mut out: String = header.lines().map(|line| format!("# {line}\n")).collect();
    for key in keys {
        out.push('\n');
        for line in key.doc.lines() {
            out.push('#');
            out.push_str(line);
            out.push('\n');
        }
        out.push_str(&format!("#{} = {}\n", key.name, key.default));
    }
    out
}

/// The manual page's section on the keys.
#[must_use]
pub fn manual_section(keys: &[KeyDoc]) -> String {
    let mut section = String::from(".SH KEYS\n");
    for key in keys {
        section.push_str(&format!(".TP\n.B {}\n", roff(key.name)));
        for line in key.doc.lines() {
            section.push_str(&format!("{}\n", roff(line.trim())));
        }
        section.push_str(&format!("Default:\n.B {}\n", roff(key.default)));
    }
    section
}

/// Text as roff takes it: no hyphenation of option names, no accidental requests.
#[must_use]
pub fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[KeyDoc] = &[
        KeyDoc { name: "store-dir", default: r#""/a""#, doc: " Where it is:\n 'here'.\n" },
        KeyDoc { name: "count", default: "3", doc: " How many.\n" },
    ];

    #[test]
    fn the_default_file_has_every_line_commented_out() {
        let expected =
            "# One.\n# Two.\n\n# Where it is:\n# 'here'.\n#store-dir = \"/a\"\n\n# How many.\n#count = 3\n";
        assert_eq!(default_file("One.\nTwo.", KEYS), expected);
    }

    #[test]
    fn the_manual_has_every_key_and_no_accidental_request() {
        let expected = ".SH KEYS\n.TP\n.B store\\-dir\nWhere it is:\n\\&'here'.\nDefault:\n.B \\(dq/a\\(dq\n\
                        .TP\n.B count\nHow many.\nDefault:\n.B 3\n";
        assert_eq!(manual_section(KEYS), expected);
        assert_eq!(roff(".x \\ y"), "\\&.x \\e y");
    }
}
