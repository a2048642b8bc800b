//! CPU time of reading messages, and of the checks that come before any cryptography.

use bench::{Options, Suite, Table, Value, initiator, nanoseconds_each};
use std::hint::black_box;
use wire::grammar::{Protection, Sender, classify};
use wire::v2::{ChainBuilder, parse_chain};
use wire::{AuthMethod, ExchangeType, HEADER_LEN, Header, IdType, NotifyType, PayloadType, ProtocolId};

/// An IKE_SA_INIT request as our initiator sends it.
fn first_message() -> Vec<u8> {
    let mut out = Vec::new();
    initiator(Suite::ALL[0], 0..1).initiate(0, &mut out);
    out.swap_remove(0).message
}

/// The inside of an IKE_AUTH request with pre-shared key, and the type of its first payload.
fn inner_chain() -> (PayloadType, Vec<u8>) {
    let message = first_message();
    let header = Header::parse(&message).expect("our own message");
    let init = parse_chain(header.next_payload, &message[HEADER_LEN..], HEADER_LEN).expect("our own message");
    let selector = wire::v2::TrafficSelector {
        protocol: 0,
        start_port: 0,
        end_port: 65_535,
        start: [10, 0, 0, 0].into(),
        end: [10, 0, 0, 255].into(),
    };
    let mut chain = ChainBuilder::new();
    chain.id_i(IdType::FQDN, b"peer-1.example");
    chain.notify(ProtocolId::NONE, &[], NotifyType::INITIAL_CONTACT, &[]);
    chain.id_r(IdType::FQDN, b"gateway.example");
    chain.auth(AuthMethod::SHARED_KEY_MIC, &[0x5a; 32]);
    chain.sa(init.sa().expect("its proposals"));
    chain.ts_i(&[selector]);
    chain.ts_r(&[selector]);
    chain.finish()
}

fn main() {
    let options = Options::get();
    let mut table = Table::new("Reading messages", &["what", "octets", "CPU ns"], &[]);
    let mut row = |name: &str, octets: usize, work: &mut dyn FnMut()| {
        if options.wants(name) {
            let each = nanoseconds_each(options.runs, work);
            table.row(vec![name.into(), Value::Number(octets as f64, 0), Value::Number(each, 1)]);
        }
    };
    let message = first_message();
    row("header", HEADER_LEN, &mut || {
        black_box(Header::parse(black_box(&message)).is_ok());
    });
    row("IKE_SA_INIT request", message.len(), &mut || {
        let parsed = Header::split(black_box(&message))
            .map(|(header, chain)| parse_chain(header.next_payload, chain, HEADER_LEN).is_ok());
        assert!(matches!(black_box(parsed), Ok(true)));
    });
    let (first, inner) = inner_chain();
    row("IKE_AUTH request, decrypted", inner.len(), &mut || {
        let parsed = parse_chain(first, black_box(&inner), 0);
        assert!(black_box(parsed).is_ok());
    });
    let parsed = parse_chain(first, &inner, 0).expect("our own chain");
    row("IKE_AUTH request, grammar", inner.len(), &mut || {
        let set = black_box(&parsed).set();
        let rule = classify(ExchangeType::IKE_AUTH, Sender::Initiator, Protection::Encrypted, &set);
        assert!(matches!(black_box(rule), Some(Ok(_))));
    });
    let mut cut = message.clone();
    cut.truncate(message.len() - 1);
    row("IKE_SA_INIT request, last octet missing", cut.len(), &mut || {
        assert!(black_box(Header::split(black_box(&cut))).is_err());
    });
    table.print(options.json);
}
