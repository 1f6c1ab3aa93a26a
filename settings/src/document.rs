//! What is made from the keys' documentation.

use crate::{KeyDoc, Takes};

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

/// The manual page's text on where values come from: the file, and what the variables' names begin with.
#[must_use]
pub fn manual_of_sources(file: &str, prefix: &str) -> String {
    let (file, name, prefix) = (roff(file), roff(file.rsplit('/').next().unwrap_or(file)), roff(prefix));
    format!(
        "TOML: a key and its value on each line. An unknown key, a value of the wrong type and one that cannot be are\n\
         refused, with their place and with what would be right. Values come from these places, of which each overrides\n\
         those before it, key by key:\n\
         .IP 1. 4\nthe defaults;\n\
         .IP 2. 4\nthe file\n.IR {file} ,\nif it is there, or the one that\n.B \\-\\-config\nnames, which has to be;\n\
         .IP 3. 4\nits drop\\-ins, the files\n.I *.toml\nin the directory\n.I {name}.d\nbeside it, in the order of their names;\n\
         .IP 4. 4\nthe environment: the variable\n.BI {prefix} KEY\\fR,\nthe key in capitals. The value is written as in the\n\
         file, a table in braces; a text may do without its quotes. Other variables of that beginning are ignored, unless\n\
         their name is nearly a key's;\n\
         .IP 5. 4\nthe options of the command line.\n"
    )
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
        let takes = match key.takes {
            Takes::Reload => "A reload applies a change.",
            Takes::Restart => "A change takes a restart.",
        };
        section.push_str(&format!("{takes}\nDefault:\n.B {}\n", roff(key.default)));
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
        KeyDoc {
            name: "store-dir",
            default: r#""/a""#,
            doc: " Where it is:\n 'here'.\n",
            takes: Takes::Restart,
        },
        KeyDoc { name: "count", default: "3", doc: " How many.\n", takes: Takes::Reload },
    ];

    #[test]
    fn the_default_file_has_every_line_commented_out() {
        let expected =
            "# One.\n# Two.\n\n# Where it is:\n# 'here'.\n#store-dir = \"/a\"\n\n# How many.\n#count = 3\n";
        assert_eq!(default_file("One.\nTwo.", KEYS), expected);
    }

    #[test]
    fn the_manual_has_every_key_and_no_accidental_request() {
        let expected = ".SH KEYS\n.TP\n.B store\\-dir\nWhere it is:\n\\&'here'.\nA change takes a restart.\nDefault:\n.B \\(dq/a\\(dq\n\
                        .TP\n.B count\nHow many.\nA reload applies a change.\nDefault:\n.B 3\n";
        assert_eq!(manual_section(KEYS), expected);
        assert_eq!(roff(".x \\ y"), "\\&.x \\e y");
    }
}
