//! JSON written down as such.
//!
//! Like `serde_json::json!`, but what is written is put together in one place: there each member of an object is made by
//! instructions of its own, and layerd writes two thousand of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A [`Value`] from JSON with expressions in it: `json!({"name": name, "place": [x, y]})`.
macro_rules! json {
    (@list [$($done:expr,)*]) => { ::serde_json::Value::Array(::std::vec![$($done),*]) };
    (@list [$($done:expr,)*] null $(, $($rest:tt)*)?) => {
        $crate::json::json!(@list [$($done,)* ::serde_json::Value::Null,] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $crate::json::json!(@list [$($done,)* $crate::json::json!([$($inner)*]),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $crate::json::json!(@list [$($done,)* $crate::json::json!({$($inner)*}),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] $value:expr $(, $($rest:tt)*)?) => {
        $crate::json::json!(@list [$($done,)* $crate::json::value(&$value),] $($($rest)*)?)
    };

    (@object [$($done:expr,)*]) => { $crate::json::object(&mut [$($done),*]) };
    (@object [$($done:expr,)*] $name:tt: null $(, $($rest:tt)*)?) => {
        $crate::json::json!(@object [$($done,)* (::std::convert::AsRef::<str>::as_ref(&$name), ::serde_json::Value::Null),] $($($rest)*)?)
    };
    (@object [$($done:expr,)*] $name:tt: [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $crate::json::json!(@object [$($done,)* (::std::convert::AsRef::<str>::as_ref(&$name), $crate::json::json!([$($inner)*])),] $($($rest)*)?)
    };
    (@object [$($done:expr,)*] $name:tt: {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $crate::json::json!(@object [$($done,)* (::std::convert::AsRef::<str>::as_ref(&$name), $crate::json::json!({$($inner)*})),] $($($rest)*)?)
    };
    (@object [$($done:expr,)*] $name:tt: $value:expr $(, $($rest:tt)*)?) => {
        $crate::json::json!(@object [$($done,)* (::std::convert::AsRef::<str>::as_ref(&$name), $crate::json::value(&$value)),] $($($rest)*)?)
    };

    (null) => { ::serde_json::Value::Null };
    ([$($items:tt)*]) => { $crate::json::json!(@list [] $($items)*) };
    ({$($members:tt)*}) => { $crate::json::json!(@object [] $($members)*) };
    ($value:expr) => { $crate::json::value(&$value) };
}
pub(crate) use json;

/// An object of members in their order. They are taken out of the list.
pub(crate) fn object(members: &mut [(&str, Value)]) -> Value {
    let members = members.iter_mut();
    Value::Object(
        members
            .map(|(name, value)| ((*name).to_owned(), value.take()))
            .collect::<Map<_, _>>(),
    )
}

/// One value. What cannot be said in JSON is null: a map whose keys are no texts.
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// What a text says. Texts and bytes are read by the same code.
///
/// # Errors
/// No JSON, or another shape.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a (impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<T> {
    serde_json::from_slice(text.as_ref())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_same_as_serde_json_makes_of_it() {
        let (key, text, none) = (String::from("key"), "text", None::<u8>);
        let list = [1.5, 2.0];
        macro_rules! both {
            ($($json:tt)*) => { assert_eq!(json!($($json)*).to_string(), serde_json::json!($($json)*).to_string()) };
        }
        both!(null);
        both!([]);
        both!({});
        both!(text);
        both!([
            null,
            1,
            [],
            {},
            [[null]],
            text,
            if list.is_empty() { 1 } else { 2 }
        ]);
        both!([list, none, -1, true,]);
        both!({"b": 1, "a": null, key: [1, {"x": none}], (text): {"y": {}, "z": text.len() + 1},});
        both!({"twice": 1, "other": 2, "twice": 3});
        both!({"list": list.iter().map(|x| x * 2.0).collect::<Vec<_>>(), "first": list.first()});
        both!({"match": match none { Some(n) => n + 1, None => 7 }, "not": f64::NAN});
    }
}
