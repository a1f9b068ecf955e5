//! A server's octets as a client reads them: replies, and what an EHLO reply offers.
#![no_main]

use letterlock_smtp_wire::ehlo::Capabilities;
use letterlock_smtp_wire::reply::{LINE_LIMIT, Reply};
use letterlock_smtp_wire::reply_parser::{ReplyError, ReplyParser};
use libfuzzer_sys::fuzz_target;

fn read(chunks: &[&[u8]]) -> Result<Vec<Reply>, ReplyError> {
    let mut parser = ReplyParser::new();
    let mut replies = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        while !rest.is_empty() {
            let (consumed, reply) = parser.feed(rest)?;
            assert!(consumed > 0);
            replies.extend(reply);
            rest = &rest[consumed..];
        }
    }
    Ok(replies)
}

fuzz_target!(|data: &[u8]| {
    let whole = read(&[data]);
    let cut = data.len() / 2;
    assert_eq!(read(&[&data[..cut], &data[cut..]]), whole);
    for reply in whole.into_iter().flatten() {
        let bytes = reply.to_bytes();
        assert!(bytes.ends_with(b"\r\n"));
        assert!(bytes.split_inclusive(|b| *b == b'\n').all(|line| line.len() <= LINE_LIMIT));
        if let Ok(again) = read(&[&bytes]) {
            assert_eq!((again.len(), again[0].code), (1, reply.code));
        }
        let once = Capabilities::parse(&Capabilities::parse(&reply).to_reply("mx.example.org"));
        let twice = Capabilities::parse(&once.to_reply("mx.example.org"));
        assert_eq!(once, twice);
    }
});
