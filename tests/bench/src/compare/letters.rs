//! Mail to sort and to thread.

use crate::messages::{DOMAIN, Random, with_parts};

/// How many people write letters.
pub(super) const PEOPLE: u32 = 400;
/// Letters of one conversation.
const CONVERSATION: u32 = 5;
/// Conversations that go on side by side.
const SIDE_BY_SIDE: u32 = 10;

/// The letter with this number, for sorting and threading: like [`crate::messages::message`], but from one of [`PEOPLE`], with a date of
/// its own that does not follow the order, and in a conversation of five, of which ten go on side by side.
pub(super) fn letter(number: u32, to: &str, size: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let boundary = format!("=_{:016x}", random.next());
    let block = CONVERSATION * SIDE_BY_SIDE;
    let (place, first) =
        (number % block / SIDE_BY_SIDE, number - number % block + number % SIDE_BY_SIDE);
    let earlier: Vec<String> =
        (0..place).map(|before| letter_id(first + before * SIDE_BY_SIDE)).collect();
    let person = number.wrapping_mul(2_654_435_761) % PEOPLE;
    let mut subjects = Random::new(first);
    let subject = format!("{} {} {first}", subjects.word(), subjects.word());
    let mut header = format!(
        "From: {} {} <person{person}@{DOMAIN}>\r\n\
         To: <{to}>\r\n\
         Subject: {}{subject}\r\n\
         Date: {:02} Jun 2025 {:02}:{:02}:{:02} +0000\r\n\
         Message-ID: {}\r\n",
        Random::new(person).word(),
        Random::new(person + PEOPLE).word(),
        if place == 0 { "" } else { "Re: " },
        random.next() % 30 + 1,
        random.next() % 24,
        random.next() % 60,
        random.next() % 60,
        letter_id(number),
    );
    if let Some(last) = earlier.last() {
        header
            .push_str(&format!("In-Reply-To: {last}\r\nReferences: {}\r\n", earlier.join("\r\n ")));
    }
    with_parts(header, &boundary, number, size, &mut random)
}

/// The Message-ID of the letter with this number.
fn letter_id(number: u32) -> String {
    format!("<{number}.{:016x}@{DOMAIN}>", Random::new(!number).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_answer_letters() {
        let text =
            |number| String::from_utf8(letter(number, "a@example.test", 4096)).expect("ASCII");
        let (first, second, last) = (text(103), text(113), text(143));
        assert!(first.contains("\r\nSubject: ") && !first.contains("References:"));
        assert!(second.contains(&format!("References: {}\r\n", letter_id(103))));
        assert!(last.contains(&format!("{}\r\n {}\r\n", letter_id(123), letter_id(133))));
    }
}
