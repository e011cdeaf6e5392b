//! Documented answers, and answers of something else.

use proptest::prelude::*;

use super::*;

fn tasmota(channel: Option<u8>) -> PowerKind {
    PowerKind::Tasmota {
        url: "http://plug/".into(),
        user: None,
        password: Some(Secret::new("p&w d")),
        channel,
    }
}

fn shelly() -> PowerKind {
    PowerKind::Shelly {
        url: "http://s".into(),
        user: None,
        password: None,
        channel: 1,
        generation: None,
    }
}

fn moonraker() -> PowerKind {
    PowerKind::Moonraker {
        url: "http://m:7125".into(),
        device: "printer".into(),
        api_key: None,
    }
}

#[test]
fn each_kind_asks_as_documented() {
    let call = call(&tasmota(Some(2)), 0, Ask::Set(true)).expect("over HTTP");
    assert_eq!((call.url.as_str(), call.post), ("http://plug/cm", false));
    assert_eq!(call.query[2], ("cmnd", "Power2 On".to_owned()));
    let call = super::call(&shelly(), 1, Ask::Set(false)).expect("over HTTP");
    assert_eq!(
        (call.url.as_str(), &call.query[0]),
        ("http://s/relay/1", &("turn", "off".to_owned()))
    );
    let call = super::call(&shelly(), 2, Ask::Set(true)).expect("over HTTP");
    assert_eq!(call.url, "http://s/rpc/Switch.Set");
    assert_eq!(call.query, [("id", "1".to_owned()), ("on", "true".to_owned())]);
    let call = super::call(&moonraker(), 0, Ask::Set(false)).expect("over HTTP");
    assert!(
        call.post && call.query.contains(&("action", "off".to_owned())),
        "{call:?}"
    );
}

#[test]
fn a_password_is_in_no_debug_text_of_the_configuration() {
    assert!(!format!("{:?}", tasmota(None)).contains("p&w"));
}

#[test]
fn documented_answers_are_understood() {
    let said =
        |kind: &PowerKind, generation, ask, body: &str| answer(kind, generation, ask, body).expect(body);
    assert_eq!(
        said(&tasmota(None), 0, Ask::State, r#"{"POWER":"ON"}"#),
        Some(true)
    );
    assert_eq!(
        said(&tasmota(Some(1)), 0, Ask::State, r#"{"POWER":"OFF"}"#),
        Some(false)
    );
    assert_eq!(
        said(&tasmota(Some(2)), 0, Ask::Set(true), r#"{"POWER2":"ON"}"#),
        Some(true)
    );
    let gen1 = r#"{"ison":true,"has_timer":false,"timer_started":0,"timer_remaining":0,"source":"http"}"#;
    assert_eq!(said(&shelly(), 1, Ask::State, gen1), Some(true));
    assert_eq!(said(&shelly(), 2, Ask::Set(true), r#"{"was_on":false}"#), None);
    let gen2 = r#"{"id":1,"source":"init","output":false,"apower":0.0,"voltage":225.9}"#;
    assert_eq!(said(&shelly(), 2, Ask::State, gen2), Some(false));
    assert_eq!(
        said(&moonraker(), 0, Ask::State, r#"{"result":{"printer":"off"}}"#),
        Some(false)
    );
    assert_eq!(
        shelly_generation(r#"{"name":null,"id":"shellyplus1","gen":2}"#).ok(),
        Some(2)
    );
    assert_eq!(shelly_generation(r#"{"type":"SHSW-1","mac":"AA"}"#).ok(), Some(1));
}

#[test]
fn answers_of_something_else_are_no_state() {
    for (kind, body) in [
        (
            tasmota(None),
            r#"{"WARNING":"Need user=<username>&password=<password>"}"#,
        ),
        (tasmota(Some(2)), r#"{"POWER1":"ON"}"#),
        (tasmota(None), "<html>login</html>"),
        (
            shelly(),
            r#"{"code":-105,"message":"Argument 'id', value 1 not found!"}"#,
        ),
        (moonraker(), r#"{"result":{"printer":"error"}}"#),
        (moonraker(), r#"{"result":{"other":"on"}}"#),
    ] {
        let fault = answer(&kind, 2, Ask::State, body).expect_err(body);
        assert_eq!(fault.code, "power/bad-answer");
    }
}

proptest! {
    #[test]
    fn any_answer_is_judged_without_a_panic(body in ".{0,200}", generation in 0u8..4) {
        for kind in [tasmota(Some(1)), shelly(), moonraker()] {
            for ask in [Ask::State, Ask::Set(true)] {
                let _ = answer(&kind, generation, ask, &body);
            }
        }
        let _ = shelly_generation(&body);
    }
}
