//! What a script is made of: the language Rhai with loops, without functions of its own, and with the functions that are named here.
//!
//! Rhai's library is left out but for its arithmetic: it can sleep, and some of it allocates as much as a script asks for.

use std::sync::LazyLock;

use rhai::packages::{ArithmeticPackage, BasicMathPackage, LogicPackage, Package};
use rhai::{Array, Dynamic, Engine, EvalAltResult, INT, ImmutableString, Map};

use crate::{
    DEPTH_MAX, ELEMENTS_MAX, OPERATIONS_MAX, STRING_BYTES_MAX, Sibling, TEXT_BYTES_MAX,
    VARIABLES_MAX,
};

/// What makes code of text, or calls what it names.
const REFUSED: &[&str] = &["eval", "Fn", "call", "curry", "print", "debug"];

static ENGINE: LazyLock<Engine> = LazyLock::new(build);

/// A value that is no string to a script: which one, and what a comparison asks for, so that it takes no time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opaque {
    at: usize,
    /// By its bytes among all.
    rank: usize,
    bytes: usize,
}

/// The siblings' values, and then the key.
pub(crate) struct Values<'a> {
    all: Vec<&'a [u8]>,
    sorted: Vec<&'a [u8]>,
}

type Answer<T> = Result<T, Box<EvalAltResult>>;

impl<'a> Values<'a> {
    pub(crate) fn new(key: &'a [u8], siblings: &[Sibling<'a>]) -> Self {
        let all: Vec<&[u8]> = siblings.iter().map(|one| one.value).chain([key]).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        Self { all, sorted }
    }

    pub(crate) fn value(&self, at: usize) -> Dynamic {
        let value = self.all[at];
        match str::from_utf8(value) {
            Ok(text) if value.len() <= TEXT_BYTES_MAX => text.into(),
            Ok(_) | Err(_) => {
                let rank = self.sorted.partition_point(|one| *one < value);
                Dynamic::from(Opaque { at, rank, bytes: value.len() })
            }
        }
    }

    pub(crate) fn sibling(&self, at: usize, one: &Sibling<'_>) -> Dynamic {
        let fields = [
            ("value", self.value(at)),
            ("origin", one.origin.into()),
            ("time", Dynamic::from_int(INT::try_from(one.time_ms).unwrap_or(INT::MAX))),
        ];
        Dynamic::from_map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    pub(crate) fn bytes(&self, opaque: &Opaque) -> &'a [u8] {
        self.all[opaque.at]
    }
}

pub(crate) fn engine() -> &'static Engine {
    &ENGINE
}

fn build() -> Engine {
    let mut engine = Engine::new_raw();
    engine
        .set_max_operations(OPERATIONS_MAX)
        .set_max_string_size(STRING_BYTES_MAX)
        .set_max_array_size(ELEMENTS_MAX)
        .set_max_map_size(ELEMENTS_MAX)
        .set_max_variables(VARIABLES_MAX)
        .set_max_expr_depths(DEPTH_MAX)
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true);
    for symbol in REFUSED {
        engine.disable_symbol(*symbol);
    }
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    engine
        .register_iterator::<Array>()
        .register_iterator::<std::ops::Range<INT>>()
        .register_iterator::<std::ops::RangeInclusive<INT>>();
    opaque(&mut engine);
    strings(&mut engine);
    collections(&mut engine);
    engine
}

fn opaque(engine: &mut Engine) {
    engine
        .register_type_with_name::<Opaque>("bytes")
        .register_get("len", |bytes: &mut Opaque| length(bytes.bytes))
        .register_fn("len", |bytes: &mut Opaque| length(bytes.bytes))
        .register_fn("==", |one: Opaque, other: Opaque| one.rank == other.rank)
        .register_fn("!=", |one: Opaque, other: Opaque| one.rank != other.rank)
        .register_fn("<", |one: Opaque, other: Opaque| one.rank < other.rank)
        .register_fn(">", |one: Opaque, other: Opaque| one.rank > other.rank)
        .register_fn("<=", |one: Opaque, other: Opaque| one.rank <= other.rank)
        .register_fn(">=", |one: Opaque, other: Opaque| one.rank >= other.rank);
}

/// Lengths and places are in characters, as in all of Rhai; those that change a string change it in place.
fn strings(engine: &mut Engine) {
    engine
        .register_get("len", |text: &mut ImmutableString| length(text.chars().count()))
        .register_fn("len", |text: &str| length(text.chars().count()))
        .register_get("bytes", |text: &mut ImmutableString| length(text.len()))
        .register_fn("bytes", |text: &str| length(text.len()))
        .register_fn("contains", |text: &str, part: &str| text.contains(part))
        .register_fn("contains", |text: &str, one: char| text.contains(one))
        .register_fn("starts_with", |text: &str, part: &str| text.starts_with(part))
        .register_fn("ends_with", |text: &str, part: &str| text.ends_with(part))
        .register_fn("index_of", |text: &str, part: &str| {
            text.find(part).map_or(-1, |at| length(text[..at].chars().count()))
        })
        .register_fn("sub_string", |text: &str, from: INT| part(text, from, INT::MAX))
        .register_fn("sub_string", part)
        .register_fn("trim", |text: &mut ImmutableString| *text = text.trim().into())
        .register_fn("replace", replace)
        .register_fn("split", split)
        .register_fn("to_string", |number: INT| number.to_string())
        .register_fn("to_string", |one: char| one.to_string())
        .register_fn("to_string", |yes: bool| yes.to_string())
        .register_fn("to_string", |text: ImmutableString| text)
        .register_fn("+", |text: &str, number: INT| format!("{text}{number}"))
        .register_fn("+", |number: INT, text: &str| format!("{number}{text}"));
}

fn collections(engine: &mut Engine) {
    engine
        .register_get("len", |array: &mut Array| length(array.len()))
        .register_fn("len", |array: &mut Array| length(array.len()))
        .register_fn("push", |array: &mut Array, element: Dynamic| array.push(element))
        .register_fn("contains", |array: &mut Array, text: &str| {
            array
                .iter()
                .any(|one| one.read_lock::<ImmutableString>().is_some_and(|one| *one == text))
        })
        .register_fn("contains", |array: &mut Array, number: INT| {
            array.iter().any(|one| one.as_int() == Ok(number))
        })
        .register_fn("sort", sort)
        .register_fn("join", join)
        .register_fn("len", |map: &mut Map| length(map.len()))
        .register_fn("contains", |map: &mut Map, name: &str| map.contains_key(name))
        .register_fn("remove", |map: &mut Map, name: &str| map.remove(name).unwrap_or_default())
        .register_fn("keys", |map: &mut Map| {
            map.keys().map(|name| name.as_str().into()).collect::<Array>()
        });
}

fn length(length: usize) -> INT {
    INT::try_from(length).unwrap_or(INT::MAX)
}

/// So many characters from this one on.
fn part(text: &str, from: INT, count: INT) -> String {
    let (from, count) = (from.max(0), count.max(0));
    let whole = |number: INT| usize::try_from(number).unwrap_or(usize::MAX);
    text.chars().skip(whole(from)).take(whole(count)).collect()
}

fn replace(text: &mut ImmutableString, what: &str, with: &str) -> Answer<()> {
    // It is asked before it is made: there may be as many as the string is long.
    let longer = text.matches(what).count().saturating_mul(with.len());
    if longer > STRING_BYTES_MAX {
        return Err("a string becomes too long".into());
    }
    *text = text.replace(what, with).into();
    Ok(())
}

fn split(text: &str, by: &str) -> Answer<Array> {
    let parts: Array = text.split(by).take(ELEMENTS_MAX + 1).map(|one| one.into()).collect();
    if parts.len() > ELEMENTS_MAX { Err("an array becomes too long".into()) } else { Ok(parts) }
}

/// All numbers, or all strings by their bytes.
fn sort(array: &mut Array) -> Answer<()> {
    if array.iter().all(Dynamic::is_int) {
        array.sort_by_key(|one| one.as_int().unwrap_or_default());
    } else if array.iter().all(Dynamic::is_string) {
        array.sort_by_cached_key(|one| one.clone().into_immutable_string().unwrap_or_default());
    } else {
        return Err("only numbers, or only strings, have an order".into());
    }
    Ok(())
}

fn join(array: &mut Array, joint: &str) -> Answer<String> {
    let mut joined = String::new();
    for (at, one) in array.iter().enumerate() {
        if at > 0 {
            joined.push_str(joint);
        }
        match (one.as_int(), one.read_lock::<ImmutableString>()) {
            (Ok(number), _) => joined.push_str(&number.to_string()),
            (Err(_), Some(text)) => joined.push_str(&text),
            (Err(_), None) => return Err("only numbers and strings are joined".into()),
        }
        if joined.len() > STRING_BYTES_MAX {
            return Err("a string becomes too long".into());
        }
    }
    Ok(joined)
}
