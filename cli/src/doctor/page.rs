//! What was found, for people: a line for each area, and below it in full what is wrong there.

use cutline_client::{Finding, Verdict};

use super::{Counts, Report};
use crate::{
    page::{Page, wrapped},
    quantity::count,
};

/// Words of an area are found here whatever its name is.
const AREA_WIDTH: usize = 13;
/// As wide as lines get where nothing says how wide a terminal is.
const WIDTH_DEFAULT: u16 = 100;

/// The page. With `all` what is as it should be is named as well.
pub fn page(report: &Report, all: bool, width: Option<u16>) -> Page {
    let width = usize::from(width.unwrap_or(WIDTH_DEFAULT));
    let mut page = Page::new().line(headline(report)).line("");
    for area in areas(&report.findings) {
        let of_area = || report.findings.iter().filter(|one| one.area() == area);
        page = page.line(summary(area, Counts::of(of_area())));
        for finding in of_area().filter(|one| all || one.verdict > Verdict::Skipped) {
            for line in lines(finding, width) {
                page = page.line(line);
            }
        }
    }
    page.line("").line(total(report.counts))
}

fn headline(report: &Report) -> String {
    let deployment = match &report.deployment {
        Some(name) => format!("deployment {name} at "),
        None => String::new(),
    };
    let context = match &report.context {
        Some(name) => format!(" (context {name})"),
        None => String::new(),
    };
    format!("{deployment}{}{context}", report.admin)
}

/// Areas in the order in which they were looked at.
fn areas(findings: &[Finding]) -> Vec<&str> {
    let mut areas = Vec::new();
    for finding in findings {
        if !areas.contains(&finding.area()) {
            areas.push(finding.area());
        }
    }
    areas
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "✓",
        Verdict::Skipped => "-",
        Verdict::Warn => "!",
        Verdict::Fail => "✗",
    }
}

fn summary(area: &str, counts: Counts) -> String {
    let told = [
        (Verdict::Fail, counts.fail, "failing"),
        (Verdict::Warn, counts.warn, "to look at"),
        (Verdict::Ok, counts.ok, "ok"),
        (Verdict::Skipped, counts.skipped, "skipped"),
    ];
    let told = told.iter().filter(|(_, number, _)| *number > 0);
    let told: Vec<String> = told
        .map(|(verdict, number, word)| format!("{} {number} {word}", mark(*verdict)))
        .collect();
    format!("{area:AREA_WIDTH$} {}", told.join("   "))
}

fn lines(finding: &Finding, width: usize) -> Vec<String> {
    let subject = if finding.subject.is_empty() {
        String::new()
    } else {
        format!("  {}", finding.subject)
    };
    let mut lines = vec![format!(
        "  {} {}{subject}",
        mark(finding.verdict),
        finding.id
    )];
    lines.extend(wrapped(&finding.what, width, "      "));
    for (at, line) in finding
        .cure
        .iter()
        .flat_map(|cure| wrapped(cure, width, "        "))
        .enumerate()
    {
        // The first line has an arrow where the others have space.
        lines.push(match at {
            0 => format!("      → {}", line.trim_start()),
            _ => line,
        });
    }
    lines
}

fn total(counts: Counts) -> String {
    match (counts.fail, counts.warn) {
        (0, 0) => format!("All is well: {} looked at.", count(counts.ok, "thing")),
        (fail, warn) => format!("{fail} failing, {warn} to look at, {} ok.", counts.ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, verdict: Verdict) -> Finding {
        Finding {
            id: id.to_owned(),
            subject: "bank/0".to_owned(),
            verdict,
            what: "registered, and not connected".to_owned(),
            cure: (verdict > Verdict::Skipped)
                .then(|| "start it again and see in its log why".to_owned()),
        }
    }

    #[test]
    fn what_is_well_is_counted_and_what_is_not_is_told_with_its_cure() {
        let findings = vec![
            finding("kafka.brokers", Verdict::Ok),
            finding("sidecars.standing", Verdict::Fail),
            finding("kafka.versions", Verdict::Ok),
        ];
        let report = Report {
            admin: "http://a:1".to_owned(),
            context: Some("prod".to_owned()),
            deployment: Some("bank".to_owned()),
            counts: Counts::of(&findings),
            findings,
        };
        let text = page(&report, false, Some(40)).render(Some(40));
        assert_eq!(
            text,
            "deployment bank at http://a:1 (context prod)\n\n\
             kafka         ✓ 2 ok\n\
             sidecars      ✗ 1 failing\n\
             \x20 ✗ sidecars.standing  bank/0\n\
             \x20     registered, and not connected\n\
             \x20     → start it again and see in its\n\
             \x20       log why\n\n\
             1 failing, 0 to look at, 2 ok.\n"
        );
    }
}
