//! A client's octets as a server reads them: into lines, into commands, and back into lines.
#![no_main]

use letterlock_smtp_wire::command::Command;
use letterlock_smtp_wire::ehlo::Extensions;
use letterlock_smtp_wire::line::LineReader;
use libfuzzer_sys::fuzz_target;

const OFFERED: Extensions = Extensions::SIZE
    .with(Extensions::EIGHT_BIT_MIME)
    .with(Extensions::BINARY_MIME)
    .with(Extensions::SMTPUTF8)
    .with(Extensions::DSN)
    .with(Extensions::AUTH)
    .with(Extensions::REQUIRETLS)
    .with(Extensions::FUTURERELEASE);

fn lines(chunks: &[&[u8]]) -> Vec<Result<Vec<u8>, letterlock_smtp_wire::line::LineError>> {
    let mut reader = LineReader::default();
    let mut lines = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        while let (consumed, Some(line)) = reader.feed(rest) {
            lines.push(line.map(<[u8]>::to_vec));
            rest = &rest[consumed..];
        }
    }
    lines
}

fn check(line: &[u8]) {
    match Command::parse(line, OFFERED) {
        Ok(Command::Http | Command::Proxy) => {}
        Ok(command) => {
            // What was understood is written so that it is understood in the same way.
            let written = command.to_bytes();
            let line = written.strip_suffix(b"\r\n").expect("a command ends in CRLF");
            let again = Command::parse(line, OFFERED).expect("own command is valid");
            assert_eq!(again.to_bytes(), written);
        }
        Err(error) => {
            let reply = error.reply();
            assert!(reply.is_permanent());
            assert!(reply.to_bytes().iter().all(|b| b.is_ascii_graphic() || b" \r\n".contains(b)));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = lines(&[data]);
    let cut = data.first().map_or(0, |first| usize::from(*first).min(data.len()));
    assert_eq!(lines(&[&data[..cut], &data[cut..]]), whole);
    whole.iter().flatten().for_each(|line| check(line));
});
