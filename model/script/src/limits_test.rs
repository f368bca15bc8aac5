//! What a script can do, and that none does harm.

use super::*;

const ONE: Sibling<'_> = Sibling { value: b"short", origin: "dc-b", time_ms: 1_000 };
const OTHER: Sibling<'_> = Sibling { value: b"longest", origin: "dc-c", time_ms: 2_000 };

fn run(source: &str) -> Result<Option<Vec<u8>>, Error> {
    Script::compile(source)?.run(b"key", &[ONE, OTHER])
}

fn told(answer: Result<Option<Vec<u8>>, Error>) -> String {
    match answer {
        Ok(Some(bytes)) => String::from_utf8(bytes).unwrap(),
        Ok(None) => "()".to_owned(),
        Err(error) => format!("! {error}"),
    }
}

fn check(expected: &[(&str, &str)]) {
    for (source, expected) in expected {
        let found = told(run(source));
        // Of an error its beginning.
        let is = found == *expected || expected.starts_with('!') && found.starts_with(expected);
        assert!(is, "{source}: {found}, not {expected}");
    }
}

#[test]
fn a_script_computes_with_numbers_strings_arrays_and_maps() {
    check(&[
        ("key", "key"),
        ("siblings[-1].value", "longest"),
        ("let n = 0; for one in siblings { n += one.value.len; } n", "12"),
        (
            "let all = #{}; for one in siblings { all[one.origin] = one.time; } all[\"dc-c\"]",
            "2000",
        ),
        ("if key.starts_with(\"k\") && \"ort\" in siblings[0].value { 1 } else { 2 }", "1"),
        ("switch siblings.len { 2 => \"two\", _ => \"more\" }", "two"),
        ("let a = siblings[0].value; a[0] = 'x'; a[0..2] + a.sub_string(3)", "xhrt"),
        ("let a = \" b,a,b \"; a.trim(); let a = a.split(\",\"); a.sort(); a.join(\"+\")", "a+b+b"),
        (
            "let a = [3, 1, 20]; a.sort(); if a.contains(20) { a.push(4); } a.join(\",\")",
            "1,3,20,4",
        ),
        ("let a = \"aXa\"; a.replace(\"a\", \"bb\"); a + a.index_of(\"X\") + a.bytes", "bbXbb25"),
        ("let a = #{one: 1, two: 2}; a.remove(\"one\"); `${a.len()} ${a.keys()[0]}`", "1 two"),
        ("max(parse_int(\"12\"), 7) % 5", "2"),
        ("let a = 0; try { throw \"me\" } catch (what) { a = what; } a", "me"),
        ("return 7;", "7"),
        ("if siblings.len > 2 { 1 }", "()"),
        ("", "()"),
    ]);
}

#[test]
fn what_it_answers_is_a_value_that_fits_where_the_others_did() {
    check(&[
        ("siblings", "! the answer is a array"),
        ("true", "! the answer is a bool"),
        ("siblings[0].value[0]", "! the answer is a char"),
        ("let a = \"x\"; for i in 0..7 { a += a; } a", "! the answer has 128 bytes"),
        ("let a = \"x\"; for i in 0..6 { a += a; } a.len", "64"),
    ]);
}

#[test]
fn there_is_nothing_outside_and_nothing_that_makes_code() {
    check(&[
        ("timestamp()", "! Function not found: timestamp"),
        ("sleep(1)", "! Function not found: sleep"),
        ("exit(1)", "! Function not found: exit"),
        ("rand()", "! Function not found: rand"),
        ("print(1)", "! reserved keyword 'print' is disabled"),
        ("debug(1)", "! reserved keyword 'debug' is disabled"),
        ("eval(\"1\")", "! reserved keyword 'eval' is disabled"),
        ("Fn(\"len\")", "! reserved keyword 'Fn' is disabled"),
        ("call(1)", "! reserved keyword 'call' is disabled"),
        ("import \"a\" as b; 1", "! 'import' is a reserved keyword"),
        ("fn a() { 1 }", "! 'fn' is a reserved keyword"),
        ("|x| x", "! Unexpected '|'"),
        ("siblings.filter(1)", "! Function not found: filter"),
        ("siblings = []", "! Cannot modify constant siblings"),
        ("foo", "! Undefined variable: foo (line 1, position 1)"),
        ("siblings[0].vlaue", "! Property not found: vlaue"),
        ("siblings[9]", "! Array index 9 out of bounds"),
        ("1.5", "! "),
    ]);
    // What it was given is its own.
    check(&[("let a = siblings; a[0].value = 1; siblings[0].value", "short")]);
}

#[test]
fn arithmetic_that_overflows_fails() {
    check(&[
        ("9223372036854775807 + 1", "! Addition overflow"),
        ("-9223372036854775807 - 2", "! Subtraction overflow"),
        ("2 ** 100", "! Exponential overflow"),
        ("1 / 0", "! Division by zero"),
        ("(-9223372036854775807 - 1) / -1", "! Division overflow"),
        ("(-9223372036854775807 - 1) % -1", "! Modulo division by zero or overflow"),
        ("abs(-9223372036854775807 - 1)", "! Negation overflow"),
        ("1 << 1000", "0"),
        ("1 >> -70", "0"),
    ]);
}

#[test]
fn every_script_ends_and_holds_little() {
    check(&[
        ("loop {}", "! Too many operations"),
        ("while true {}", "! Too many operations"),
        ("try { loop {} } catch { 1 }", "! Too many operations"),
        ("loop { try { throw 1 } catch {} }", "! Too many operations"),
        ("for i in 0..=9223372036854775807 {}", "! Too many operations"),
        ("let a = 1; loop { let a = 1; }", "! Too many operations"),
        ("let a = \"x\"; loop { a += a; }", "! Length of string too large"),
        ("let a = \"x\"; loop { a = `${a}${a}`; }", "! Length of string too large"),
        (
            "let a = \"aa\"; loop { a.replace(\"a\", \"aaa\"); }",
            "! Runtime error: a string becomes too",
        ),
        ("let a = [\"a\"]; loop { let b = a.join(\"\"); a.push(b); }", "! "),
        ("let a = []; loop { a.push(a); }", "! Size of array/BLOB too large"),
        ("let a = []; loop { a = [a]; }", "! Size of array/BLOB too large"),
        ("let a = []; for i in 0..500 { a = [a]; } 1", "1"),
        ("let a = #{}; loop { a = #{a: a, b: a}; }", "! Size of object map too large"),
        (
            "let a = []; loop { a.push(`${a.len} of more than a hundred`); }",
            "! Length of string too large",
        ),
        ("sub_string(\"abc\", 1, 9223372036854775807)", "bc"),
        ("siblings[1].value[0..9223372036854775807]", "longest"),
    ]);
    let many = (0..=VARIABLES_MAX).map(|at| format!("let a{at} = 1;")).collect::<String>();
    assert!(told(run(&many)).contains("Too many variables"), "{}", told(run(&many)));
    let long = "1".repeat(SOURCE_BYTES_MAX + 1);
    assert_eq!(run(&long), Err(Error::TooLong(SOURCE_BYTES_MAX + 1)));
}

#[test]
fn what_is_too_deep_is_refused_before_it_fills_the_stack() {
    let refused = "exceeds maximum complexity";
    for (before, middle, after) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{", "1", "}"),
        ("if true {", "1", "}"),
        ("if false {} else ", "{1}", ""),
        ("!", "true", ""),
        ("1+", "1", ""),
        ("1**", "1", ""),
        ("#{a:", "1", "}"),
        ("", "key", ".len"),
        ("", "key", "[0]"),
        ("key ?? ", "key", ""),
        ("switch 1 { 1 => ", "1", "}"),
        ("try {", "", "} catch {}"),
        ("`${", "1", "}`"),
        ("loop {", "", "}"),
        ("f(", "1", ")"),
        ("key.f(", "1", ")"),
        ("", "key", "?.a"),
        ("true && ", "true", ""),
        ("{", "", ""),
        ("(", "", ""),
        ("[", "", ""),
    ] {
        // The deepest that is read is run: it does not fill the stack either.
        for times in 1..=2 * DEPTH_MAX {
            let source = format!("{}{middle}{}", before.repeat(times), after.repeat(times));
            let found = told(run(&source));
            if times == 2 * DEPTH_MAX {
                assert!(found.contains(refused), "{source}: {found}");
            }
        }
        let times = SOURCE_BYTES_MAX / (before.len() + after.len()) - 4;
        let source = format!("{}{middle}{}", before.repeat(times), after.repeat(times));
        assert!(told(run(&source)).contains(refused), "{before}{after}");
    }
}

#[test]
fn a_value_that_is_long_or_no_text_is_compared_and_answered() {
    let (long, longer) = (vec![b'a'; TEXT_BYTES_MAX + 1], vec![b'a'; 1 << 20]);
    let values = [&b"\xff\x00"[..], &longer, &long, b"text", &longer];
    let siblings = values.map(|value| Sibling { value, ..ONE });
    let run = |source: &str| Script::compile(source).unwrap().run(b"\xfe", &siblings);
    let greatest = "let most = siblings[0].value;
        for one in siblings { if type_of(one.value) == \"bytes\" && one.value > most { most = one.value; } }
        most";
    assert_eq!(run(greatest), Ok(Some(values[0].to_vec())));
    assert_eq!(run("siblings[1].value"), Ok(Some(longer.clone())));
    assert_eq!(run("siblings[2].value.len"), Ok(Some(b"4097".to_vec())));
    assert_eq!(run("key"), Ok(Some(b"\xfe".to_vec())));
    for source in [
        "siblings[1].value == siblings[4].value && siblings[1].value >= siblings[4].value",
        "siblings[2].value < siblings[1].value && siblings[2].value != siblings[1].value",
        "siblings[0].value > siblings[1].value && key < siblings[0].value",
        "siblings[3].value != siblings[0].value",
        "type_of(siblings[3].value) == \"string\"",
    ] {
        assert_eq!(run(&format!("if {source} {{ 1 }}")), Ok(Some(b"1".to_vec())), "{source}");
    }
    assert!(run("siblings[0].value + \"x\"").is_err());
    let many = vec![ONE; SIBLINGS_MAX + 1];
    let siblings = Script::compile("1").unwrap().run(b"key", &many);
    assert_eq!(siblings, Err(Error::Siblings(SIBLINGS_MAX + 1)));
}

#[test]
fn an_error_is_one_short_line() {
    let error = told(run(&format!(
        "let a = \"{}\";\n\n throw `{}\n${{a}}`",
        "x".repeat(500),
        "y".repeat(50)
    )));
    assert!(error.len() <= REASON_BYTES_MAX + 2 && !error.contains('\n'), "{error}");
    assert!(told(run("1;\n  foo")).contains("(line 2, position 3)"));
}
