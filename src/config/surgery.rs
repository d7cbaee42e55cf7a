//! Changing a file of settings without writing it anew: a setting is put in the place of another, and
//! every other line stays as its owner wrote it, comments included.

/// The lines of a file of settings, each with its line break.
pub(super) struct Lines(Vec<String>);

/// Settings that are not written as this can change them, and how they would have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unchangeable(pub(super) String);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if let Some(last) = lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push('\n');
        }
        Self(lines)
    }

    pub(super) fn into_text(self) -> String {
        self.0.concat()
    }

    /// Gives `setting` in the block `name` this value; none takes the setting out. A comment behind a
    /// value on its line stays.
    pub(super) fn set(
        &mut self,
        name: &str,
        setting: &str,
        value: Option<&str>,
    ) -> Result<(), Unchangeable> {
        let missing = || Unchangeable(format!("there is no `{name}:` at the start of a line"));
        let block = self.block(name)?.ok_or_else(missing)?;
        let first = (block.start + 1..block.end).find(|at| !is_idle(self.line(*at)));
        let indent = first.map_or(2, |at| indent_of(self.line(at)));
        let is_it = |line: &str| {
            let rest = line.trim_start().strip_prefix(setting);
            indent_of(line) == indent && rest.is_some_and(|rest| rest.starts_with(':'))
        };
        let found = (block.start + 1..block.end).find(|at| is_it(self.line(*at)));
        let (at, end, comment) = match found {
            None => (block.start + 1, block.start + 1, String::new()),
            Some(at) => {
                // What is written deeper belongs to it.
                let is_below = |at: &usize| {
                    let line = self.line(*at);
                    !line.trim().is_empty() && indent_of(line) > indent
                };
                let end = at + 1 + (at + 1..block.end).take_while(is_below).count();
                (at, end, comment_of(self.line(at)))
            }
        };
        let line = value.map(|value| format!("{:indent$}{setting}: {value}{comment}\n", ""));
        self.0.splice(at..end, line);
        Ok(())
    }

    /// Adds an item, one `setting: value` a line, to the end of the list `name`; a list that is not there
    /// is begun behind the block `after`.
    pub(super) fn add(
        &mut self,
        name: &str,
        item: &[(&str, String)],
        after: &str,
    ) -> Result<(), Unchangeable> {
        let (at, indent, head) = match self.block(name)? {
            Some(block) => {
                let mut items = block.clone().skip(1);
                let first = items.find(|at| self.line(*at).trim_start().starts_with('-'));
                let indent = first.map_or(2, |at| indent_of(self.line(at)));
                (block.end, indent, None)
            }
            None => {
                let missing =
                    || Unchangeable(format!("there is no `{after}:` at the start of a line"));
                let block = self.block(after)?.ok_or_else(missing)?;
                (block.end, 2, Some(format!("\n{name}:\n")))
            }
        };
        let lines = item.iter().enumerate().map(|(at, (setting, value))| {
            let mark = if at == 0 { "- " } else { "  " };
            format!("{:indent$}{mark}{setting}: {value}\n", "")
        });
        let lines: Vec<String> = head.into_iter().chain(lines).collect();
        self.0.splice(at..at, lines);
        Ok(())
    }

    /// The lines of a top-level setting that is written as a block: from its name up to the last line
    /// that belongs to it.
    fn block(&self, name: &str) -> Result<Option<std::ops::Range<usize>>, Unchangeable> {
        let rest_of = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(rest.split('#').next().unwrap_or_default().trim().to_owned())
        };
        let found = self.0.iter().position(|line| rest_of(line).is_some());
        let Some(start) = found else {
            return Ok(None);
        };
        if rest_of(self.line(start)).is_some_and(|rest| !rest.is_empty()) {
            let reason = format!("`{name}:` must be written as a block, one setting a line");
            return Err(Unchangeable(reason));
        }
        let mut end = start + 1;
        for (at, line) in self.0.iter().enumerate().skip(start + 1) {
            let is_inside = line.starts_with([' ', '-']) && !line.starts_with("---");
            if is_inside && !line.trim().is_empty() {
                end = at + 1;
            } else if !is_idle(line) {
                break;
            }
        }
        Ok(Some(start..end))
    }

    fn line(&self, at: usize) -> &str {
        self.0.get(at).map_or("", String::as_str)
    }
}

/// A text as a YAML scalar: bare where nobody could read something else, in quotes otherwise.
pub(super) fn scalar(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:".contains(&b);
    let is_bare = text.bytes().all(is_plain)
        && text.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic());
    match is_bare && text.contains(['/', '.']) && !text.ends_with(':') {
        true => text.to_owned(),
        // JSON is YAML.
        false => serde_json::to_string(text).unwrap_or_default(),
    }
}

/// Blank, or nothing but a comment.
fn is_idle(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The comment behind a value, with the blank before it. In quotes a number sign is no comment, and then
/// none is looked for.
fn comment_of(line: &str) -> String {
    let line = line.trim_end();
    match line.find(" #") {
        Some(at) if !line.contains(['"', '\'']) => line.get(at..).unwrap_or_default().to_owned(),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# first
public-url: https://a.example # ours

# the log
log:
  # its files
  database: log/log.sqlite   # do not move
  key: log/key.pem
  passphrase:
    file: passphrase

  window:
    start: 2026-01-01T00:00:00Z
    end: 2027-01-01T00:00:00Z
  # the end

# the ledger
ledger:
  database: ledger.sqlite";

    fn item() -> Vec<(&'static str, String)> {
        vec![("prefix", "/log".to_owned()), ("until", "now".to_owned())]
    }

    #[test]
    fn a_setting_changes_in_its_place_and_nothing_else_does() {
        let mut lines = Lines::of(FILE);
        lines
            .set("log", "database", Some("new/log.sqlite"))
            .unwrap();
        lines.set("log", "window", None).unwrap();
        lines.set("log", "prefix", Some("/new")).unwrap();
        lines
            .set("log", "passphrase", Some("{credential: x}"))
            .unwrap();
        let expected = FILE
            .replace("log/log.sqlite   #", "new/log.sqlite #")
            .replace("log:\n  # its", "log:\n  prefix: /new\n  # its")
            .replace(
                "passphrase:\n    file: passphrase",
                "passphrase: {credential: x}",
            );
        let (before, window) = expected.split_once("  window:").unwrap();
        let (_, after) = window.split_once("2027-01-01T00:00:00Z\n").unwrap();
        assert_eq!(lines.into_text(), format!("{before}{after}\n"));
    }

    #[test]
    fn an_item_is_added_at_the_end_of_its_list_or_begins_it() {
        let mut lines = Lines::of(FILE);
        lines.add("retired-logs", &item(), "log").unwrap();
        let text = lines.into_text();
        let begun =
            "  # the end\n\nretired-logs:\n  - prefix: /log\n    until: now\n\n# the ledger";
        assert!(text.contains(begun), "{text}");
        for (list, expected) in [
            (
                "retired-logs:\n  - {prefix: /a}\n",
                "  - {prefix: /a}\n  - prefix: /log\n    until: now\n",
            ),
            (
                "retired-logs:\n- prefix: /a\n  until: x\n# c\n",
                "  until: x\n- prefix: /log\n  until: now\n# c\n",
            ),
            (
                "retired-logs: # none yet\nlast: 1\n",
                "yet\n  - prefix: /log\n    until: now\nlast: 1\n",
            ),
        ] {
            let mut lines = Lines::of(&format!("{FILE}\n{list}"));
            lines.add("retired-logs", &item(), "log").unwrap();
            let text = lines.into_text();
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_written_in_lines_is_left_to_its_owner() {
        for file in ["log: {database: x}\n", "ledger: x\n", " log:\n"] {
            let mut lines = Lines::of(file);
            assert!(lines.set("log", "key", Some("x")).is_err(), "{file}");
            assert!(lines.add("retired-logs", &item(), "log").is_err(), "{file}");
            assert_eq!(lines.into_text(), file);
        }
    }

    #[test]
    fn a_scalar_is_read_back_as_the_text_it_was() {
        for text in [
            "/log-2027",
            "log/key.pem",
            "",
            "yes",
            "1.5",
            "a b",
            "a: b",
            "#x",
            "it's",
            "\"",
            "/x:",
            "null",
            "é/é",
        ] {
            let read: String = yaml_serde::from_str(&scalar(text)).unwrap();
            assert_eq!(read, text);
        }
        assert_eq!(scalar("/log-2027"), "/log-2027");
    }
}
