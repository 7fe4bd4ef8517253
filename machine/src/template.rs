//! Go's templates as scripts use them with `--format`: fields, variables, pipelines, `if`, `range`, `with`,
//! `index`, comparisons, `printf`, and docker-machine's own `json` and `prettyjson`. What is not known is
//! refused by name when the template is parsed.

mod evaluate;
mod functions;
mod lexer;
mod syntax;

pub(crate) use functions::pretty;

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<syntax::Node>,
}

/// The template is not one we can fill in, or does not fit the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`, or a block without `{{end}}`.
    #[error("Template parsing error: unclosed action in {0:?}")]
    Unclosed(String),
    /// `{{end}}` or `{{else}}` without a block.
    #[error("Template parsing error: unexpected {{{{{0}}}}}")]
    Unexpected(String),
    /// More of Go's templates than we know.
    #[error("Template parsing error: {0:?} is not supported")]
    Unsupported(String),
    /// A function that is not there.
    #[error("Template parsing error: function {0:?} not defined")]
    UnknownFunction(String),
    /// A variable that is not there.
    #[error("Template parsing error: undefined variable {0:?}")]
    UnknownVariable(String),
    /// The data is of another kind than the template takes it for.
    #[error("Template error: {0}")]
    Data(String),
}

impl Template {
    /// Parses; `\t` and `\n` written with a backslash become what they say.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { nodes: syntax::parse(&unescaped)? })
    }

    /// Fills in. A field that is not there is `<no value>`, as in Go.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn try_render(template: &str) -> Result<String, TemplateError> {
        let data = json!({
            "Driver": { "IPAddress": "10.0.0.1", "CPU": 2, "X": null, "On": true },
            "Labels": ["a=b", "c=d"], "Empty": [], "Name": "dev",
        });
        Template::parse(template)?.render(&data)
    }

    fn render(template: &str) -> String {
        try_render(template).unwrap()
    }

    #[test]
    fn fields_and_json_are_filled_in() {
        assert_eq!(render("{{.Driver.IPAddress}}"), "10.0.0.1");
        assert_eq!(render("{{ .Name }}:\\t{{.Driver.CPU}}"), "dev:\t2");
        assert_eq!(render("{{json .Driver.IPAddress}}"), "\"10.0.0.1\"");
        assert_eq!(render("{{.Labels | json}}"), "[\"a=b\",\"c=d\"]");
        assert_eq!(render("{{prettyjson .Labels}}"), "[\n    \"a=b\",\n    \"c=d\"\n]");
        assert_eq!(render("{{.Nope.At.All}} {{.Driver.X}}"), "<no value> <no value>");
        assert_eq!(render("no fields"), "no fields");
    }

    #[test]
    fn values_print_as_in_go() {
        assert_eq!(render("{{.Labels}} {{.Empty}}"), "[a=b c=d] []");
        assert_eq!(render("{{.Driver}}"), "map[CPU:2 IPAddress:10.0.0.1 On:true X:<nil>]");
    }

    #[test]
    fn blocks_choose_and_repeat() {
        assert_eq!(render("{{if .Driver.On}}on{{else}}off{{end}}"), "on");
        assert_eq!(render("{{if .Nope}}a{{else if eq .Name \"dev\"}}b{{else}}c{{end}}"), "b");
        assert_eq!(render("{{range .Labels}}<{{.}}>{{end}}"), "<a=b><c=d>");
        assert_eq!(render("{{range $i, $l := .Labels}}{{if $i}}, {{end}}{{$l}}{{end}}"), "a=b, c=d");
        assert_eq!(render("{{range $k, $v := .Driver}}{{$k}} {{end}}"), "CPU IPAddress On X ");
        assert_eq!(render("{{range .Empty}}x{{else}}none{{end}}"), "none");
        assert_eq!(render("{{with .Driver}}{{.CPU}} {{$.Name}}{{end}}"), "2 dev");
        assert_eq!(render("a {{- /* nothing */ -}} b"), "ab");
    }

    #[test]
    fn functions_and_variables() {
        assert_eq!(render("{{index .Labels 1}} {{index .Driver \"CPU\"}}"), "c=d 2");
        assert_eq!(render("{{(index .Labels 0)}} {{len .Labels}} {{len .Name}}"), "a=b 2 3");
        assert_eq!(
            render("{{printf \"%s-%d %q %v%%\" .Name .Driver.CPU .Name .Labels}}"),
            "dev-2 \"dev\" [a=b c=d]%"
        );
        assert_eq!(render("{{$n := .Name}}{{$n = printf \"%s!\" $n}}{{$n}}"), "dev!");
        assert_eq!(render("{{if and .Driver.On (gt .Driver.CPU 1) (not .Nope)}}y{{end}}"), "y");
        assert_eq!(render("{{or .Nope .Name}} {{eq .Name \"a\" \"dev\"}} {{ne 1 2}}"), "dev true true");
        assert_eq!(
            render("{{(index .Labels 0) | printf \"%s\"}}{{with $x := .Driver}}{{$x.CPU}}{{end}}"),
            "a=b2"
        );
    }

    #[test]
    fn what_we_do_not_know_is_refused_by_name() {
        for template in ["{{define \"x\"}}{{end}}", "{{template \"x\"}}", "{{}}", "{{.A..B}}", "{{.A | .B}}"]
        {
            assert!(matches!(Template::parse(template), Err(TemplateError::Unsupported(_))), "{template}");
        }
        assert!(matches!(Template::parse("{{.A"), Err(TemplateError::Unclosed(_))));
        assert!(matches!(Template::parse("{{if .A}}"), Err(TemplateError::Unclosed(_))));
        assert!(matches!(Template::parse("{{end}}"), Err(TemplateError::Unexpected(_))));
        assert!(matches!(Template::parse("{{shout .A}}"), Err(TemplateError::UnknownFunction(_))));
        assert!(matches!(Template::parse("{{$x}}"), Err(TemplateError::UnknownVariable(_))));
        for template in ["{{index .Labels 7}}", "{{.Name.First}}", "{{lt .Name 1}}", "{{range .Name}}{{end}}"]
        {
            assert!(matches!(try_render(template), Err(TemplateError::Data(_))), "{template}");
        }
    }
}
