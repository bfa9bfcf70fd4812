use proptest::prelude::*;
use unicode_normalization::is_nfc;

use super::*;

/// A page as lines that a person can check against the source.
fn described(page: &Page) -> String {
    let mut lines = vec![
        format!("title: {}", page.title.as_deref().unwrap_or("-")),
        format!("breadcrumb: {:?}", page.breadcrumb),
        format!("language: {}", page.language.as_deref().unwrap_or("-")),
        format!("url: {}", page.canonical_url.as_deref().unwrap_or("-")),
    ];
    for block in &page.blocks {
        let kind = match block.kind {
            BlockKind::Heading(level) => format!("heading {level}"),
            kind => format!("{kind:?}").to_lowercase(),
        };
        let anchor = block.anchor.as_deref().unwrap_or("-");
        let retrieved = if block.retrievable { "" } else { " (not retrieved)" };
        lines.push(format!("{kind} #{anchor}{retrieved}: {}", page.slice(&block.range).replace('\n', "⏎")));
    }
    lines.join("\n") + "\n"
}

fn html(text: &str) -> Page {
    parse_html(text, &Options::default()).unwrap()
}

fn markdown(text: &str) -> Page {
    parse_markdown(text, &Options::default()).unwrap()
}

/// What must hold of any page.
fn check(page: &Page) {
    assert!(is_nfc(&page.text), "the text is not NFC");
    let mut end = 0;
    for block in &page.blocks {
        let range = &block.range;
        assert!(range.start < range.end && range.end as usize <= page.text.len());
        let between = page.text.get(end..range.start as usize).expect("ranges lie on characters and in order");
        assert_eq!(between, if end == 0 { "" } else { "\n\n" });
        end = range.end as usize;
        let mut at = range.start;
        for item in &block.items {
            assert!(at <= item.range.start && item.range.start <= item.range.end && item.range.end <= range.end);
            assert!(page.text.get(item.range.start as usize..item.range.end as usize).is_some());
            at = item.range.end;
        }
    }
    assert_eq!(end, page.text.len());
}

#[test]
fn golden_pages() {
    let page = markdown(include_str!("../../tests/golden/article.md"));
    check(&page);
    assert_eq!(described(&page), include_str!("../../tests/golden/article.md.txt"));
    assert_eq!(page.front_matter["tags"], serde_json::json!(["rounds", "planning"]));
    let page = html(include_str!("../../tests/golden/article.html"));
    check(&page);
    assert_eq!(described(&page), include_str!("../../tests/golden/article.html.txt"));
    assert_eq!(page.hidden_dropped, 2);
    let list = page.blocks.iter().find(|block| block.items.iter().any(|item| item.anchor.is_some())).unwrap();
    let anchors: Vec<_> = list.items.iter().map(|item| item.anchor.as_deref().unwrap()).collect();
    assert_eq!(anchors, ["term-view", "term-edit"]);
    let table = page.blocks.iter().find(|block| block.kind == BlockKind::Table).unwrap();
    assert_eq!(page.slice(table.header.as_ref().unwrap()), "Code | Meaning");
}

#[test]
fn plain_text_keeps_its_lines() {
    let page = parse_plain("one  two\r\nthree\r\n\r\n\u{feff}four\0\r\n", &Options::default()).unwrap();
    check(&page);
    assert_eq!(page.text, "one two\nthree\n\nfour");
    assert_eq!(parse_plain("a\rb", &Options::default()).unwrap().text, "a\nb");
    assert_eq!(parse_plain("", &Options::default()).unwrap(), Page::default());
}

#[test]
fn bytes_are_decoded_or_named() {
    assert_eq!(decode(b"\xEF\xBB\xBFa").unwrap(), "a");
    assert_eq!(decode(b"\xFF\xFEa\0\xFC\0").unwrap(), "aü");
    assert_eq!(decode(b"\xFE\xFF\0a\0\xFC").unwrap(), "aü");
    let reason = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert!(reason(b"ab\xFFc").contains("byte 2"));
    assert!(reason(b"\xEF\xBB\xBFab\xFFc").contains("byte 5"));
    assert!(reason(b"\xFF\xFEa\0\0\xD8").contains("byte 4"));
    assert!(reason(b"\xFF\xFEa\0b").contains("byte 4"));
    assert_eq!(decode_html(b"<meta charset=iso-8859-1>\xFC").unwrap(), "<meta charset=iso-8859-1>ü");
    assert_eq!(decode_html(b"<?xml version='1.0' encoding='windows-1252'?>\x80").unwrap().chars().last(), Some('€'));
    assert_eq!(decode_html(b"<meta charset=\"utf-8\">\xFF").unwrap().chars().last(), Some('\u{FFFD}'));
    assert!(decode_html(b"<p>\xFF").is_err());
}

#[test]
fn front_matter_is_a_mapping_or_an_error() {
    let reason = |text: &str| parse_markdown(text, &Options::default()).unwrap_err().to_string();
    assert!(reason("---\n- a\n- b\n---\nx").contains("front matter: it is a sequence, not a mapping"));
    assert!(reason("---\njust words\n---\nx").contains("a text, not a mapping"));
    assert!(reason("---\na: [\n---\nx").contains("front matter"));
    assert!(reason(&format!("---\na: {}\n---\nx", "[".repeat(100_000))).contains("nested too deeply"));
    assert!(reason(&format!("---\n{}a\n---\nx", "- ".repeat(50_000))).contains("nested too deeply"));
    assert_eq!(markdown("---\n---\n\nx").text, "x");
    assert_eq!(markdown("a\n\n---\nb").text, "a\n\nb");
    assert_eq!(markdown("---\nnever closed").text, "never closed");
    let page = markdown("---\ntitle: 7\nwhen: 2025-01-02\nratio: 0.5\nnone: null\n---\r\n# Other");
    assert_eq!(page.title.as_deref(), Some("7"));
    assert_eq!(page.front_matter["ratio"], serde_json::json!(0.5));
}

#[test]
fn an_anchor_comes_from_where_the_page_says() {
    let anchor =
        |text: &str| html(text).blocks.iter().find(|block| block.heading_level().is_some()).unwrap().anchor.clone();
    for (text, expected) in [
        ("<h2 id=own><a name=in></a>T</h2>", Some("own")),
        ("<h2><a name=in></a>T</h2>", Some("in")),
        ("<h2><span id=in>T</span></h2>", Some("in")),
        ("<a name=before></a><h2>T</h2>", Some("before")),
        ("<section id=around><div><h2>T</h2></div></section>", Some("around")),
        ("<section id=around><p>text</p><h2>T</h2></section>", None),
        ("<h2>T <a href='#permalink'>#</a></h2>", Some("permalink")),
        ("<h2>T<a class=headerlink href='#permalink' title='Link'>Link to this</a></h2>", Some("permalink")),
        ("<h2>T<a aria-hidden=true href='#permalink'></a></h2>", Some("permalink")),
        ("<h2>T</h2>", None),
    ] {
        assert_eq!(anchor(text).as_deref(), expected, "{text}");
        assert_eq!(
            html(text).blocks.last().map(|block| html(text).slice(&block.range).to_owned()).as_deref(),
            Some("T")
        );
    }
    let page = markdown("## A {#given}\n\n## B ¶\n\n## C [¶](#c-1)\n\n## C\n");
    let anchors: Vec<_> = page.blocks.iter().map(|block| block.anchor.clone().unwrap()).collect();
    assert_eq!(anchors, ["given", "b-", "c-1", "c"]);
}

#[test]
fn an_id_made_of_a_title_says_nothing_of_the_element() {
    for (open, close) in [
        ("<section id={}>", "</section>"),
        ("<div class='section' id={}>", "</div>"),
        ("<div class=sect2 id={}>", "</div>"),
        ("", ""),
    ] {
        for id in ["_note_about_fast_forwards", "cookies", "search-navigation", "table-of-contents", "nav-footer"] {
            let open = open.replace("{}", id);
            let page = html(&format!(
                "<h1>Page</h1><p>First.</p>{open}<h2 id={id}>A title of its own</h2><p>Second text.</p>{close}"
            ));
            let heading = page.blocks.iter().find(|block| block.kind == BlockKind::Heading(2)).unwrap();
            assert_eq!(
                (heading.anchor.as_deref(), page.slice(&heading.range)),
                (Some(id), "A title of its own"),
                "{open}"
            );
            assert!(page.text.ends_with("Second text."), "{open}{}", page.text);
        }
    }
    assert_eq!(
        html("<h1>Page</h1><p>First.</p><div id=cookies><h2>Cookies</h2><p>Accept?</p></div>").text,
        "Page\n\nFirst."
    );
}

#[test]
fn what_a_browser_hides_is_dropped_and_counted() {
    let page = html(
        "<p>a<span hidden>1</span><span style='visibility: hidden'>2</span><span style='color:red;font-size:0'>3</span>\
         <span aria-hidden=true>4</span><span class=sr-only>5</span><span style='font-size:0.8em'>b</span>\
         <i aria-hidden=true></i><template>6</template></p>",
    );
    assert_eq!((page.text.as_str(), page.hidden_dropped), ("ab", 5));
    let page = html(
        "<p>Choose <span class=switchinline><span hidden=true class=MAC>A</span><span hidden=true id=default1>B</span></span>.",
    );
    assert_eq!(page.text, "Choose B.");
}

#[test]
fn pages_of_links_are_hubs() {
    let links =
        |count: usize| (0..count).map(|i| format!("* [Page number {i}](p{i}.html)\n")).collect::<Vec<_>>().concat();
    assert!(markdown(&format!("# All\n\n{}", links(5))).hub);
    assert!(markdown("# All\n\n[![](a.png)\n\n#### One\n\nWhat one is.](https://x.example/1)\n\n[![](b.png)\n\n#### Two\n\nTwo it is.](https://x.example/2)\n\n[![](c.png)\n\n#### Three\n\nAnd three.](https://x.example/3)").hub);
    assert!(!markdown(&format!("# All\n\n{}\n\n{}", links(2), "Words that say something at length. ".repeat(9))).hub);
    let contents = html(
        "<h1>Part</h1><div class=toc><p>Contents</p><dl><dt><a href=a.html>ANALYZE</a> counts</dt><dt><a href=b.html>BACKUP</a> saves</dt><dt><a href=c.html>CLOSE</a></dt></dl></div>",
    );
    assert!(contents.hub && contents.blocks.iter().all(|block| block.retrievable));
}

#[test]
fn a_million_nested_tags_are_flattened() {
    for tag in
        ["<div>", "<b>", "<ul><li>", "<table><tr><td>", "<a href=#x>", "<p>", "<blockquote>", "<section id=x>", "<svg>"]
    {
        let page = html(&format!("{}deep", tag.repeat(1_000_000)));
        check(&page);
        assert!(page.text.ends_with("deep") || tag == "<svg>", "{tag}: {}", page.text.len());
    }
    let closed = format!("{}deep{}<p>after", "<div>".repeat(1_000_000), "</div>".repeat(1_000_000));
    assert_eq!(html(&closed).text, "deep\n\nafter");
}

#[test]
fn a_tag_with_a_hundred_thousand_attributes_loses_them() {
    let attributes = (0..100_000).map(|i| format!(" a{i}=1")).collect::<Vec<_>>().concat();
    assert_eq!(html(&format!("<p{attributes}>text</p>")).text, "text");
    assert_eq!(html(&format!("<p a='>'{attributes} b=\">\">text</p>")).text, "text");
}

#[test]
fn one_huge_text_is_one_paragraph() {
    let page = html(&format!("<p>{}", "word ".repeat(2_000_000)));
    assert_eq!((page.blocks.len(), page.text.len()), (1, 2_000_000 * 5 - 1));
}

#[test]
fn odd_characters_leave_valid_text() {
    for parse in [parse_markdown, parse_html, parse_plain] {
        let page = parse("a\0b\rc\u{7}d\u{AD}e \u{202E}שלום\u{202C} e\u{301} \u{200B}f", &Options::default()).unwrap();
        check(&page);
        assert!(!page.text.contains(['\0', '\r', '\u{7}', '\u{AD}', '\u{200B}']), "{:?}", page.text);
        assert!(page.text.contains("שלום") && page.text.contains('é'));
    }
}

const ATTRIBUTES: [&str; 9] = [
    "",
    " id=x",
    " class='note toc'",
    " href='#x'",
    " href=y.html",
    " hidden",
    " class=menu",
    " name=n",
    " alt='an alt'",
];

fn piece() -> impl Strategy<Value = String> {
    let tags = "div|p|ul|ol|li|dl|dt|dd|table|tr|td|th|thead|h1|h2|h3|a|b|code|pre|blockquote|section|span|br|img|nav|main|article|header|svg|select|template|button|form|script|style|body|html|caption|details";
    let tags: Vec<String> = tags.split('|').map(str::to_owned).collect();
    prop_oneof![
        (prop::sample::select(tags.clone()), prop::sample::select(&ATTRIBUTES[..]))
            .prop_map(|(tag, attribute)| format!("<{tag}{attribute}>")),
        prop::sample::select(tags).prop_map(|tag| format!("</{tag}>")),
        "[a-z éñ日\u{301}\u{338}=<>&\"'\\\\ \n\t#*_`|.-]{0,12}",
        prop::sample::select(
            &[
                "\n\n",
                "\n# ",
                "\n- ",
                "\n  - ",
                "\n1. ",
                "\n> ",
                "\n```\n",
                "\n| a | b |\n|--|--|\n",
                "[x](#y)",
                "[",
                "](u)",
                "![i](j)",
                "&nbsp;",
                "<!--",
                "-->",
                "¶",
                "[\\#](#h)",
                "Was this helpful?"
            ][..]
        )
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn any_markup_becomes_a_sound_page(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        for parse in [parse_markdown, parse_html, parse_plain] {
            let page = parse(&text, &Options::default()).unwrap();
            check(&page);
            prop_assert_eq!(&page, &parse(&text, &Options::default()).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        if let Ok(text) = decode_html(&bytes) {
            check(&html(&text));
        }
    }
}

#[test]
fn tags_that_only_emphasise_cost_no_parser() {
    let page = parse_markdown(&"<b>word</b> ".repeat(100_000), &Options::default()).unwrap();
    assert_eq!(page.text.split(' ').filter(|word| *word == "word").count(), 100_000);
    let tags = "<B>a</B><i CLASS=x>b</i> <a NAME=here></a>c<BR>d <IMG alt=picture> <a HREF=/e>e</a>";
    let page = parse_markdown(tags, &Options::default()).unwrap();
    assert_eq!(page.text, "ab c\nd picture e");
}

fn dialect(text: &str, dialect: Dialect) -> Page {
    let page = parse_markdown(text, &Options { dialect, ..Options::default() }).unwrap();
    check(&page);
    page
}

#[test]
fn mdx_shows_what_a_reader_sees() {
    let page = dialect(include_str!("../../tests/golden/page.mdx"), Dialect::Mdx);
    assert_eq!(described(&page), include_str!("../../tests/golden/page.mdx.txt"));
}

#[test]
fn mkdocs_admonitions_and_tabs_are_text() {
    let page = dialect(include_str!("../../tests/golden/mkdocs.md"), Dialect::MkDocs);
    assert_eq!(described(&page), include_str!("../../tests/golden/mkdocs.md.txt"));
}

#[test]
fn an_omitted_section_goes_with_all_under_it() {
    let source = "# Page\n\nShown.\n\n## Internal Notes:\n\nSecret.\n\n### Deeper\n\n- one\n- two\n\n## After\n\n\
                  | A | B |\n|---|---|\n| 1 | 2 |\n\n- x\n- y\n";
    let options = Options { omitted: vec!["internal notes".to_owned()], ..Options::default() };
    let page = parse_markdown(source, &options).unwrap();
    check(&page);
    assert_eq!(page.text, "Page\n\nShown.\n\nAfter\n\nA | B\n1 | 2\n\n- x\n- y");
    let table = page.blocks.iter().find(|block| block.kind == BlockKind::Table).unwrap();
    assert_eq!(page.slice(table.header.as_ref().unwrap()), "A | B");
    let items: Vec<_> = table.items.iter().map(|item| page.slice(&item.range)).collect();
    assert_eq!(items, ["A | B", "1 | 2"]);
    assert_eq!(parse_markdown(source, &Options::default()).unwrap().text.matches("Secret").count(), 1);
    let all = Options { omitted: vec!["Page".to_owned()], ..Options::default() };
    assert_eq!(parse_markdown(source, &all).unwrap().text, "");
}

#[test]
fn front_matter_says_what_a_hub_is() {
    assert!(markdown("---\nis_hub: true\n---\n\nWords alone.\n").hub);
    assert!(!markdown("---\nis_hub: \"no\"\n---\n\nWords alone.\n").hub);
}

#[test]
fn content_has_no_frame() {
    let source = "<h2 id=\"page=2\">Two</h2><p>Short.</p><table><tr><td>one</td><td>two words</td></tr></table>";
    let page = parse_content(source, &Options::default()).unwrap();
    check(&page);
    assert_eq!(page.text, "Two\n\nShort.\n\none | two words");
    assert!(page.blocks.iter().all(|block| block.anchor.as_deref() == Some("page=2")));
}

#[test]
fn a_page_that_is_out_of_budget_is_read_to_its_end() {
    // Brackets that never close use up what may be looked at; then code is text, and nothing is left out.
    let open = format!("{}{}\n\n", "{".repeat(40), "a".repeat(20_000));
    for code in ["import 'x'", "import a from 'b'", "export const a = 1", "export {a}"] {
        let page = dialect(&format!("{open}{code}\n\nLast words.\n"), Dialect::Mdx);
        assert!(page.text.ends_with("Last words."), "{code}");
    }
}

#[test]
fn hostile_dialects_take_linear_time() {
    for piece in
        ["{", "<A b=\"", "`", "``` `", "<!--", "import x\n", "export const a = {\n", "{'", "<A ", "{/*", "<a b={"]
    {
        let text = piece.repeat(1_000_000 / piece.len());
        dialect(&text, Dialect::Mdx);
        dialect(&text, Dialect::MkDocs);
    }
}

proptest! {
    #[test]
    fn any_dialect_becomes_a_sound_page(pieces in prop::collection::vec(jsx(), 0..40)) {
        let text = pieces.concat();
        dialect(&text, Dialect::Mdx);
        dialect(&text, Dialect::MkDocs);
    }

    #[test]
    fn plain_words_are_what_they_were(lines in prop::collection::vec("[a-z .,]{0,30}", 0..20)) {
        let text = lines.join("\n");
        prop_assume!(!text.contains("import") && !text.contains("export"));
        prop_assert_eq!(dialect(&text, Dialect::Mdx).text, markdown(&text).text);
    }
}

fn jsx() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        prop::sample::select(vec![
            "{",
            "}",
            "<Tabs>",
            "</Tabs>",
            "<TabItem label=\"a\">",
            "<A b={x}/>",
            "`",
            "```\n",
            ":::note\n",
            ":::\n",
            "{/*",
            "*/}",
            "import a from 'b'\n",
            "export const a = 1\n",
            "<>",
            "</>",
            "<p className=\"x\">",
            "    ",
            "!!! note \"T\"\n",
            "\\",
            "é",
            "{'x'}",
            "<!--",
            "-->",
            "=== \"Tab\"\n",
            "{#id}",
            "# ",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
    ]
}
