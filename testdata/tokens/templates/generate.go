// Writes vectors.json: what Go's own text/template makes of templates and claims, so that the
// reader in src/identity/template can be held against it. Run: go run generate.go > vectors.json
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"text/template"
)

type vector struct {
	Template string `json:"template"`
	// Exactly one of these three: the output, "parse" trouble, or trouble when it is executed.
	Output  *string `json:"output,omitempty"`
	Parse   bool    `json:"parse,omitempty"`
	Execute bool    `json:"execute,omitempty"`
}

type claim struct {
	JSON string `json:"json"`
	Text string `json:"text"`
}

var data = map[string]string{
	"a": "1", "b": "2", "k": "a", "empty": "", "amp": "<&\"'>", "a-b": "dash", "c.d/e": "path",
	"ref": "main", "ref_type": "branch",
}

func run(text string) vector {
	parsed, err := template.New("t").Option("missingkey=error").Parse(text)
	if err != nil {
		return vector{Template: text, Parse: true}
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil {
		return vector{Template: text, Execute: true}
	}
	result := out.String()
	return vector{Template: text, Output: &result}
}

// A claim as text: a number by itself is written without an exponent, everything else as %v writes it.
func asText(document string) string {
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		panic(err)
	}
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprintf("%v", value)
}

var chosen = []string{
	"{{.a}}", "{{ .a }}", "{{.a}}/{{.b}}", "{{.a}}{{.b}}", "x{{.a}}y", "{{.amp}}", "{{.missing}}",
	"{{index . \"missing\"}}", "{{index . \"a-b\"}}", "{{(index . \"c.d/e\")}}", "{{index . `a`}}", "{{index . .k}}",
	"{{if eq .ref_type \"branch\"}}heads/{{ else }}tags/{{end}}{{ .ref }}", "{{if .missing}}x{{end}}", "{{if .empty}}x{{end}}",
	"{{if .empty}}x{{else}}y{{end}}", "{{if .empty}}x{{else if .a}}y{{else}}z{{end}}", "{{if .a}}x{{else if .b}}y{{end}}",
	"{{if eq (index . \"a-b\") \"dash\"}}t{{ else }}\"\"{{end}}", "{{if eq (index . \"nope\") \"true\"}}t{{ else }}\"\"{{end}}",
	"{{ .a-b }}", "{{ .a.b }}", "{{ .a .b }}", "{{.a", "{{", "{{}}", "{{  }}", "{{end}}", "{{else}}", "{{if .a}}",
	"{{if .a}}{{else}}{{else}}{{end}}", "{{if}}x{{end}}", "{{if .a}}x{{end .b}}", "{{.a}} }}", "}}", "{ {.a}}", "{{{.a}}}",
	"{{ /* c */ }}", "{{/* c */}}x", "a {{- /* c */ -}} x", "a {{-  /* c */ -}} x", "{{/*c*/ }}", "{{/*c", "{{/* }} */}}x",
	"a {{- .a -}} x", "a\n\t {{- .a -}} \r\n x", "{{.a -}} x", "{{.a-}}", "{{-.a}}", "{{- - }}", "a {{-\n.a\n-}} b", "a {{- \"\" -}} b",
	"{{eq .a \"1\"}}", "{{eq .a \"x\" \"1\"}}", "{{eq .a}}", "{{eq}}", "{{eq .a (not .b)}}", "{{eq .a \"1\" (not .b)}}", "{{eq .a \"1\" .missing}}",
	"{{ne .a .b}}", "{{ne .a .b .k}}", "{{not .a}}", "{{not .empty}}", "{{not .a .b}}", "{{not}}",
	"{{and .a .b}}", "{{and .empty .missing}}", "{{and .a .missing}}", "{{or .a .missing}}", "{{or .empty .b}}", "{{or .empty}}", "{{and}}", "{{or}}",
	"{{and .a (eq .b \"2\")}}", "{{if and (eq .a \"1\") .missing}}1{{end}}", "{{if and (eq .a \"2\") .missing}}1{{else}}0{{end}}",
	"{{eq(.a) \"1\"}}", "{{eq (.a)\"1\"}}", "{{eq (.a) \"1\"}}", "{{\"a\"\"b\"}}", "{{\"a\"}}", "{{`a\n\"b`}}", "{{\"a\nb\"}}", "{{`a",
	"{{\"\\u00e9\\t\\\\\\\"\\x41\\101\\U0001F600\"}}", "{{\"\\'\"}}", "{{\"\\q\"}}", "{{\"\\u12\"}}", "{{\"\\ud800\"}}", "{{\"a\\", "{{\"\\x\"}}",
	"{{eq \"a\" \n \"a\"}}", "{{ifx}}", "{{if(.a)}}1{{end}}", "{{if\"a\"}}1{{end}}", "{{((.a))}}", "{{( .a )}}", "{{(.a}}", "{{.a)}}", "{{()}}",
	"{{index .}}", "{{index}}", "{{index . \"a\" \"b\"}}", "{{index (.a) \"1\"}}", "{{index . (eq .a .b)}}", "{{index . (and .k .k)}}",
	"{{not eq .a .b}}", "{{.A}}", "{{.a }}", "{{\t.a\t}}", "{{if .a }}1{{- end -}} 2", "{{else if .a}}", "{{if .a}}1{{else if}}2{{end}}",
	"{{if .empty}}1{{ else  if  .a }}2{{  end  }}", "{{.a,}}", "{{.a:}}", "{{.a!}}", "{{!}}", "{{.a}}é{{.b}}", "é {{- .a}}", "{{.a}}\u00a0{{- .b}}",
	"{{if .a}}{{if .empty}}x{{else}}y{{end}}{{else}}z{{end}}", "\\{{.a}}\\", "%s{{.a}}%d", "{{.a}}{{/**/}}{{.b}}", "{{.(a)}}", "{{(.a).b}}", "{{..a}}", "{{. a}}",
	// Understood by Go and refused by us.
	"{{.}}", "{{1}}", "{{.9}}", "{{'a'}}", "{{true}}", "{{eq true (not .a)}}", "{{print .a}}", "{{len .a}}", "{{.a | not}}", "{{$x := .a}}{{$x}}", "{{$}}",
	"{{with .a}}x{{end}}", "{{range .a}}x{{end}}", "{{define \"x\"}}{{end}}", "{{block \"x\" .}}{{end}}", "{{printf \"%s\" .a}}", "{{slice .a 0}}",
	"{{html .amp}}", "{{js .amp}}", "{{urlquery .amp}}", "{{lt .a .b}}", "{{if .}}x{{end}}", "{{not .}}", "{{if not .a}}x{{else}}y{{end}}",
}

func main() {
	random := rand.New(rand.NewSource(20240229))
	pick := func(choices ...string) string { return choices[random.Intn(len(choices))] }
	space := func() string { return pick("", "", " ", "  ", "\n", "\t") }
	var operand func(depth int) string
	command := func(depth int) string {
		function := pick("eq", "eq", "ne", "and", "or", "not", "index .", "")
		if function == "" {
			return operand(depth)
		}
		parts := []string{function}
		count := map[string]int{"not": 1, "index .": 1, "ne": 2}[function]
		if count == 0 || random.Intn(10) == 0 {
			count = 1 + random.Intn(3)
		}
		for range count {
			parts = append(parts, operand(depth))
		}
		return strings.Join(parts, pick(" ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", "  ", "\n", ""))
	}
	operand = func(depth int) string {
		switch random.Intn(8) {
		case 0, 1, 2:
			return pick(".a", ".b", ".a", ".b", ".k", ".k", ".empty", ".empty", ".ref_type", ".ref_type", ".amp", ".missing")
		case 3, 4:
			return pick(`"1"`, `"branch"`, `""`, `"a-b"`, "`a`")
		case 5:
			return `(index . "` + pick("a-b", "nope", "a") + `")`
		default:
			if depth > 2 {
				return ".a"
			}
			return "(" + space() + command(depth+1) + space() + ")"
		}
	}
	action := func(inner string) string {
		return "{{" + pick("", "", "- ") + space() + inner + space() + pick("", "", " -") + "}}"
	}
	var body func(depth int) string
	body = func(depth int) string {
		var out strings.Builder
		for range 1 + random.Intn(3) {
			switch random.Intn(5) {
			case 0:
				out.WriteString(pick("x", " x ", "\n", "/", "}}", " - "))
			case 1:
				if depth > 2 {
					continue
				}
				out.WriteString(action("if "+command(0)) + body(depth+1))
				for random.Intn(3) == 0 {
					out.WriteString(action("else if "+command(0)) + body(depth+1))
				}
				if random.Intn(2) == 0 {
					out.WriteString(action("else") + body(depth+1))
				}
				if random.Intn(12) > 0 {
					out.WriteString(action("end"))
				}
			default:
				out.WriteString(action(command(0)))
			}
		}
		return out.String()
	}
	var vectors []vector
	for _, text := range chosen {
		vectors = append(vectors, run(text))
	}
	for range 700 {
		if text := body(0); strings.Contains(text, "{{") && strings.TrimSpace(text) != "" {
			vectors = append(vectors, run(text))
		}
	}
	var claims []claim
	for _, document := range []string{
		`"text"`, `""`, `true`, `false`, `null`, `0`, `-0`, `-0.0`, `7`, `-7`, `12345678`, `9007199254740991`, `1e3`, `1.5`, `1e15`, `0.1`, `1e-7`, `123.456`,
		`[]`, `["x",1,true]`, `[12345678,123456,1234567,1000000,0.0001,0.00001,-0.0,1.5,null]`, `[[1],["a",[2]]]`,
		`{}`, `{"k":1,"b":"z"}`, `{"b":{"y":[1,{"z":null}],"x":2097152},"a":[]}`, `{"é":"ü","Z":"1","a":"2"}`, `"<&>"`,
	} {
		claims = append(claims, claim{document, asText(document)})
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(map[string]any{"data": data, "templates": vectors, "claims": claims}); err != nil {
		panic(err)
	}
}
