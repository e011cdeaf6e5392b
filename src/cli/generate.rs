//! `layerd completions` and `layerd man`: made from the same definitions as the parser.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::{Done, Exit, Failure};

/// Arguments of `completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Completions to stdout.
pub fn completions(args: &CompletionsArgs) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "layerd", &mut text);
    write(&text)
}

/// The manual page to stdout.
pub fn man() -> Done {
    let mut text = Vec::new();
    render(&mut text).map_err(|e| Failure::new(format!("The manual page could not be written: {e}.")))?;
    write(&text)
}

fn render(text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(text)?;
    for verb in command.get_subcommands().filter(|v| v.get_name() != "help") {
        let man = clap_mangen::Man::new(verb.clone());
        writeln!(text, ".SH \"LAYERD {}\"", verb.get_name().to_uppercase())?;
        let mut part = Vec::new();
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        // Sections of a verb are subsections of the page.
        text.extend(
            String::from_utf8_lossy(&part)
                .replace(".SH ", ".SS ")
                .into_bytes(),
        );
    }
    Ok(())
}

fn write(text: &[u8]) -> Done {
    // A reader that has gone is no failure.
    let _ = std::io::stdout().lock().write_all(text);
    Ok(Exit::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_every_verb() {
        let mut text = Vec::new();
        render(&mut text).expect("rendered");
        let text = String::from_utf8(text).expect("text");
        for verb in Cli::command().get_subcommands() {
            assert!(
                text.contains(&format!("LAYERD {}", verb.get_name().to_uppercase())),
                "{}",
                verb.get_name()
            );
        }
    }
}
