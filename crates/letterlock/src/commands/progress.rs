//! How far a long command has come: a bar on a terminal, plain lines otherwise, on standard error.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use letterlock_admin::Progress;

/// Shows progress once there is any: most commands have none.
#[derive(Default)]
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    /// What the last plain line was about.
    last: String,
}

impl Shown {
    /// Shows the newest state.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if !io::stderr().is_terminal() {
            if progress.on != self.last && !progress.on.is_empty() {
                eprintln!("{} of {}: {}", progress.done + 1, progress.of, progress.on);
                self.last.clone_from(&progress.on);
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(bar);
        bar.set_length(progress.of);
        bar.set_position(progress.done);
        bar.set_message(progress.on.clone());
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // The template is ours, so it is sound; a plain bar would do as well.
    match ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
