//! `layerd key create|list|revoke`: keys of the local API. Also while the service is stopped.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::client::{QUICK, block_on};
use super::exit::{Done, Exit, Failure};
use super::{Globals, moving, out, settings};
use crate::api::access::Scopes;
use crate::api::envelope::Problem;
use crate::api::keys;
use crate::job::store::Store;
use crate::json::json;

/// What to do with keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Make a key; it is shown once, and kept nowhere
    Create(CreateArgs),
    /// The keys there are
    List,
    /// Take a key back; from then on it opens nothing
    Revoke(RevokeArgs),
}

/// Arguments of `key create`.
#[derive(Clone, Debug, clap::Args)]
pub struct CreateArgs {
    /// A name to know it by, such as who or what uses it
    name: String,
    /// What it may do: read, control (start, pause, heat, G-code), files (upload), admin (all of it)
    #[arg(long, default_value = "read,control,files", value_name = "WORDS", value_parser = scopes)]
    scopes: Scopes,
    /// When it ends: a number with m, h, d or w [default: never]
    #[arg(long, value_name = "TIME", value_parser = life)]
    expires: Option<SignedDuration>,
}

/// Arguments of `key revoke`.
#[derive(Clone, Debug, clap::Args)]
pub struct RevokeArgs {
    /// Name or number of the key
    key: String,
}

fn scopes(text: &str) -> Result<Scopes, String> {
    Scopes::parse(text).map_err(|word| match word.as_str() {
        "" => "name at least one: read, control, files, admin".to_owned(),
        word => format!("\"{word}\" is none of read, control, files, admin"),
    })
}

fn life(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "a number with m, h, d or w, such as 30d".to_owned();
    let unit_s = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some('w') => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let most_s = i64::from(keys::LIFE_MAX_S);
    number
        .checked_mul(unit_s)
        .filter(|s| (1..=most_s).contains(s))
        .map(SignedDuration::from_secs)
        .ok_or_else(wrong)
}

/// Runs the verb.
pub fn run(globals: &Globals, verb: &Verb) -> Done {
    let socket = settings::socket(globals.config.as_deref())?;
    block_on(async {
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            ask(globals, verb).await
        } else {
            let path = moving::database(globals)?;
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)
                    .map_err(|e| Failure::new(format!("{}: cannot be made: {e}.", dir.display())))?;
            }
            let store = Store::open(&path).map_err(moving::not_open)?;
            let done = work(globals, verb, &store).await;
            moving::closed(store, done).await
        }
    })?
}

/// The daemon runs: it does it, and knows at once.
async fn ask(globals: &Globals, verb: &Verb) -> Done {
    let client = globals.client()?;
    match verb {
        Verb::Create(args) => {
            let body = json!({
                "name": args.name, "scopes": args.scopes.to_string(), "expires_s": args.expires.map(|e| e.as_secs()),
            });
            let answer = client.post("agent/keys/Create", &[], &body, QUICK).await?;
            let refused = answer.get("status") == Some(&Value::Bool(false));
            if refused {
                let words = answer.get("message").and_then(Value::as_str).unwrap_or_default();
                return Err(Failure::new(out::clean(words)));
            }
            let key = answer.get("key").and_then(Value::as_str).unwrap_or_default();
            Ok(created(globals, key, answer.get("data").unwrap_or(&Value::Null)))
        }
        Verb::List => {
            let answer = client.get("agent/keys/Get", &[], QUICK).await?;
            Ok(listed(
                globals,
                answer
                    .get("data")
                    .and_then(Value::as_array)
                    .map_or(&[], Vec::as_slice),
            ))
        }
        Verb::Revoke(args) => {
            let all = client.get("agent/keys/Get", &[], QUICK).await?;
            let all = all
                .get("data")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let key = wanted(&all, &args.key)?;
            client
                .post("agent/keys/Revoke", &[], &json!({"id": key.get("id")}), QUICK)
                .await?;
            Ok(revoked(globals, key))
        }
    }
}

/// The daemon does not run: straight in the database.
async fn work(globals: &Globals, verb: &Verb, store: &Store) -> Done {
    let now = Timestamp::now();
    let wrong = |problem: Problem| Failure::new(problem.message);
    match verb {
        Verb::Create(args) => {
            let (mut row, key) = keys::make(&args.name, args.scopes, args.expires, now).map_err(wrong)?;
            row.id = keys::keep(store, row.clone()).await.map_err(wrong)?;
            Ok(created(globals, &key, &keys::shown(&row, now)))
        }
        Verb::List | Verb::Revoke(_) => {
            let rows = store.api_keys().await.map_err(moving::failed)?;
            let all: Vec<Value> = rows.iter().map(|row| keys::shown(row, now)).collect();
            let Verb::Revoke(args) = verb else {
                return Ok(listed(globals, &all));
            };
            let key = wanted(&all, &args.key)?;
            let id = key.get("id").and_then(Value::as_i64).unwrap_or_default();
            store.api_key_drop(id).await.map_err(moving::failed)?;
            Ok(revoked(globals, key))
        }
    }
}

/// The key alone on stdout, so that a script can take it.
fn created(globals: &Globals, key: &str, data: &Value) -> Exit {
    if globals.json {
        out::json(&json!({"key": key, "data": data}));
    } else {
        out::line(key);
        out::err("This is the only time it is shown. Send it in the header X-API-KEY.");
    }
    Exit::Good
}

fn listed(globals: &Globals, all: &[Value]) -> Exit {
    if globals.json {
        out::json(&Value::Array(all.to_vec()));
    } else if all.is_empty() {
        out::line("There are no keys. Make one: layerd key create NAME");
    } else {
        for key in all {
            out::line(line(key));
        }
    }
    Exit::Good
}

fn line(key: &Value) -> String {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let words = key.get("scopes").and_then(Value::as_array);
    let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
    let ends = match (
        text("expires").get(..10),
        key.get("expired") == Some(&Value::Bool(true)),
    ) {
        (Some(day), true) => format!("ended {day}"),
        (Some(day), false) => format!("until {day}"),
        (None, _) => "no end".to_owned(),
    };
    format!(
        "{:>4}  {:<24} {:<28} {ends}",
        key.get("id").and_then(Value::as_i64).unwrap_or_default(),
        out::clean(text("name")),
        words.join(",")
    )
}

fn wanted<'a>(all: &'a [Value], key: &str) -> Result<&'a Value, Failure> {
    let named = |k: &&Value| k.get("name").and_then(Value::as_str) == Some(key);
    let numbered = |k: &&Value| {
        k.get("id")
            .and_then(Value::as_i64)
            .is_some_and(|id| id.to_string() == key)
    };
    let found = all.iter().find(named).or_else(|| all.iter().find(numbered));
    found.ok_or_else(|| {
        Failure::usage(format!(
            "There is no key \"{}\". See \"layerd key list\".",
            out::clean(key)
        ))
    })
}

fn revoked(globals: &Globals, key: &Value) -> Exit {
    if globals.json {
        out::json(key);
    } else {
        let name = key.get("name").and_then(Value::as_str).unwrap_or_default();
        out::line(format!(
            "The key \"{}\" opens nothing any more.",
            out::clean(name)
        ));
    }
    Exit::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_with_a_unit() {
        assert_eq!(life("30d"), Ok(SignedDuration::from_hours(720)));
        assert_eq!(life("1m"), Ok(SignedDuration::from_secs(60)));
        for wrong in [
            "",
            "d",
            "30",
            "0d",
            "-1d",
            "1y",
            "99999999999999999999d",
            "9999999999d",
            "ä",
        ] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            scopes("read,fly"),
            Err("\"fly\" is none of read, control, files, admin".to_owned())
        );
    }

    #[test]
    fn a_key_is_found_by_name_before_number() {
        let all = [
            json!({"id": 1, "name": "2"}),
            json!({"id": 2, "name": "pi", "expires": "2026-01-02T03:04:05Z", "expired": true, "scopes": ["read", "files"]}),
        ];
        assert_eq!(wanted(&all, "2").map(|k| k["id"].clone()).ok(), Some(json!(1)));
        assert_eq!(wanted(&all, "pi").map(|k| k["id"].clone()).ok(), Some(json!(2)));
        assert!(wanted(&all, "3").is_err());
        let words = line(&all[1]);
        assert_eq!(
            words.split_whitespace().collect::<Vec<_>>(),
            ["2", "pi", "read,files", "ended", "2026-01-02"]
        );
    }
}
