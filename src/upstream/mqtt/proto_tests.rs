use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4::{self, Packet};
use rumqttc::mqttbytes::{self, QoS};

use super::*;

/// What a foreign implementation reads out of our bytes.
fn foreign(bytes: &[u8]) -> Packet {
    Packet::read(&mut BytesMut::from(bytes), 1 << 20).expect("readable")
}

fn of_foreign(packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, 1 << 28).expect("written");
    out.to_vec()
}

#[test]
fn another_implementation_reads_what_is_written_here() {
    let mut out = Vec::new();
    let will = Will {
        topic: "layerd/pi/status".to_owned(),
        payload: "offline".to_owned(),
    };
    connect(
        &mut out,
        "layerd-pi",
        30,
        Some(("user", Some("pass"))),
        Some(&will),
    );
    let Packet::Connect(said) = foreign(&out) else {
        panic!("a connect");
    };
    assert!(said.clean_session);
    assert_eq!((said.client_id.as_str(), said.keep_alive), ("layerd-pi", 30));
    let login = said.login.expect("a login");
    assert_eq!(
        (login.username.as_str(), login.password.as_str()),
        ("user", "pass")
    );
    let last = said.last_will.expect("a will");
    assert_eq!(
        (last.topic.as_str(), &last.message[..], last.retain, last.qos),
        ("layerd/pi/status", &b"offline"[..], true, QoS::AtLeastOnce)
    );
    let mut out = Vec::new();
    subscribe(&mut out, 7, &[("a/+/b", Qos::One), ("c", Qos::Zero)]);
    let Packet::Subscribe(said) = foreign(&out) else {
        panic!("a subscription");
    };
    let filters: Vec<_> = said.filters.iter().map(|f| (f.path.as_str(), f.qos)).collect();
    assert_eq!(filters, [("a/+/b", QoS::AtLeastOnce), ("c", QoS::AtMostOnce)]);
    for (packet, write) in [
        (Packet::PingReq, ping as fn(&mut Vec<u8>)),
        (Packet::Disconnect, disconnect),
    ] {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(foreign(&out), packet);
    }
}

#[test]
fn ten_megabytes_are_passed_over_acknowledged_and_not_kept() {
    let mut big = v4::Publish::new("layerd/pi/p/command", QoS::AtLeastOnce, vec![b'x'; 10_000_000]);
    big.pkid = 9;
    let mut stream = of_foreign(&Packet::Publish(big));
    stream.extend(of_foreign(&Packet::PingResp));
    let mut reader = Reader::default();
    let (mut seen, mut most) = (Vec::new(), 0);
    for part in stream.chunks(4096) {
        seen.extend(reader.take(part).expect("fine"));
        most = most.max(reader.held());
    }
    assert_eq!(
        seen,
        [
            Incoming::TooLarge {
                topic: Some("layerd/pi/p/command".to_owned()),
                id: Some(9),
                bytes: 10_000_028,
            },
            Incoming::Pong,
        ]
    );
    assert!(most <= 8192, "{most} bytes were held");
}

#[test]
fn what_is_no_mqtt_ends_the_session() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 1],
        &[0x34, 5, 0, 1, b'a', 0, 1],
        &[0x32, 5, 0, 1, b'a', 0, 0],
        &[0x30, 2, 0, 9],
    ] {
        assert!(Reader::default().take(bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    /// However the bytes are cut: what another implementation wrote is read as it was meant.
    #[test]
    fn messages_are_read_however_they_are_cut(
        sizes in proptest::collection::vec((0_usize..40_000, 1_usize..60, any::<bool>(), any::<bool>()), 1..8),
        cut in 1_usize..5000,
    ) {
        let mut stream = Vec::new();
        let mut meant = Vec::new();
        for (n, (size, topic, sure, retain)) in sizes.into_iter().enumerate() {
            let mut message = v4::Publish::new("t".repeat(topic), if sure { QoS::AtLeastOnce } else { QoS::AtMostOnce }, vec![b'p'; size]);
            message.retain = retain;
            message.pkid = if sure { u16::try_from(n + 1).expect("small") } else { 0 };
            meant.push(Incoming::Publish(Message { topic: message.topic.clone(), payload: message.payload.to_vec(), retain, id: sure.then_some(message.pkid) }));
            stream.extend(of_foreign(&Packet::Publish(message)));
        }
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for part in stream.chunks(cut) {
            seen.extend(reader.take(part).expect("fine"));
        }
        prop_assert_eq!(seen, meant);
        prop_assert_eq!(reader.held(), 0);
    }

    /// And the other way round.
    #[test]
    fn messages_are_written_for_others(topic in "[a-z/]{1,80}", payload in proptest::collection::vec(any::<u8>(), 0..3000), retain: bool, id in proptest::option::of(1_u16..)) {
        let mut out = Vec::new();
        publish(&mut out, &topic, &payload, retain, id);
        let Packet::Publish(said) = foreign(&out) else { panic!("a message") };
        prop_assert_eq!((said.topic, &said.payload[..], said.retain, said.pkid), (topic, &payload[..], retain, id.unwrap_or(0)));
        prop_assert_eq!(said.qos, mqttbytes::qos(u8::from(id.is_some())).expect("valid"));
    }

    /// Nothing that comes in can do more than end the session.
    #[test]
    fn noise_does_no_harm(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..10)) {
        let mut reader = Reader::default();
        for part in parts {
            if reader.take(&part).is_err() {
                break;
            }
            prop_assert!(reader.held() <= PACKET_MAX + 300);
        }
    }
}
