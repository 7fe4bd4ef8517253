//! Debian control data (deb822): paragraphs of `Field: value` with folded lines.
//!
//! Release files, package indexes and `.sources` files are all written in it.

/// One paragraph, borrowed from its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paragraph<'a> {
    text: &'a str,
}

/// The paragraphs of `text`, in order.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (paragraph, after) = match rest.find("\n\n") {
            Some(end) => (&rest[..end], &rest[end..]),
            None => (rest, ""),
        };
        rest = after;
        Some(Paragraph { text: paragraph })
    })
}

impl<'a> Paragraph<'a> {
    /// The value of a field on its first line, trimmed. Field names ignore case, as apt does.
    pub(crate) fn value(&self, field: &str) -> Option<&'a str> {
        self.lines(field)?.next()
    }

    /// All lines of a field, trimmed, without comments; the first is what stands after the colon.
    pub(crate) fn lines(&self, field: &str) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let mut lines = self.text.lines();
        let first = lines.find_map(|line| value_of(line, field))?;
        let folded = lines
            .filter(|line| !line.starts_with('#'))
            .take_while(|line| line.starts_with([' ', '\t']))
            .map(str::trim);
        Some(std::iter::once(first).chain(folded))
    }

    /// The words of a field over all its lines.
    pub(crate) fn words(&self, field: &str) -> Vec<&'a str> {
        self.lines(field).into_iter().flatten().flat_map(str::split_whitespace).collect()
    }
}

fn value_of<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    if line.starts_with([' ', '\t', '#']) {
        return None;
    }
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case(field).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Package: a\nVersion: 1\nSHA256:\n 11 22 x\n\t33 44 y\nSize: 5\n\n\n# note\nPackage: b\n";

    #[test]
    fn paragraphs_and_folded_fields() {
        let all: Vec<_> = paragraphs(TEXT).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].value("package"), Some("a"));
        let lines: Vec<_> = all[0].lines("SHA256").unwrap().collect();
        assert_eq!(lines, ["", "11 22 x", "33 44 y"]);
        assert_eq!(all[0].value("Size"), Some("5"));
        assert_eq!(all[1].value("Package"), Some("b"));
        assert_eq!(all[1].value("Version"), None);
    }

    #[test]
    fn comments_inside_a_folded_field_are_skipped() {
        let text = "URIs: http://mirror.example/debian\n# old\n http://two.example/debian\nSuites: a\n";
        let paragraph = paragraphs(text).next().unwrap();
        assert_eq!(paragraph.words("URIs"), ["http://mirror.example/debian", "http://two.example/debian"]);
    }

    #[test]
    fn junk_has_no_fields() {
        assert!(paragraphs("\n\n").next().is_none());
        assert_eq!(paragraphs("no colon here").next().unwrap().value("no"), None);
    }
}
