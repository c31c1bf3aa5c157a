//! The continents of countries.

use std::collections::HashMap;
use std::path::Path;

use reveille_text::bounded;

use crate::error::Reason;

/// Continents by country; both have two letters.
#[derive(Debug, Clone, Default)]
pub struct Continents(HashMap<Box<str>, Box<str>>);

/// Longest list of continents; one of all countries has a few thousand bytes.
const LONGEST: u64 = 1 << 20;

// === impl Continents ===

impl Continents {
    pub(crate) fn open(path: &Path) -> Result<Self, Reason> {
        Self::read(&bounded::text(path, LONGEST)?)
    }

    /// Reads lines `COUNTRY,CONTINENT`; ignores lines whose country does not have two characters, such as a heading.
    fn read(text: &str) -> Result<Self, Reason> {
        let mut continents = HashMap::new();
        for line in text.lines() {
            if let Some((country, rest)) = line.split_once(',')
                && country.len() == 2
            {
                let continent = rest.split(',').next().unwrap_or_default().trim_end();
                continents.insert(country.into(), continent.into());
            }
        }
        if continents.is_empty() {
            return Err(Reason::NoCountries);
        }
        Ok(Self(continents))
    }

    /// The table for servers without a file.
    pub(crate) fn built_in() -> Self {
        let mut continents = HashMap::new();
        for line in include_str!("continents.txt").lines() {
            if let Some((continent, countries)) = line.split_once(':') {
                for country in countries.split_ascii_whitespace() {
                    continents.insert(country.into(), continent.into());
                }
            }
        }
        Self(continents)
    }

    pub(crate) fn of(&self, country: &str) -> Option<&str> {
        self.0.get(country).map(|continent| &**continent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_letters_are_read() {
        let text = "\"iso 3166 country\",\"continent code\"\nDE,EU\nUS,NA\r\n";
        let continents = Continents::read(text).unwrap();
        assert_eq!(
            (continents.of("DE"), continents.of("US")),
            (Some("EU"), Some("NA"))
        );
        assert_eq!(continents.of("de"), None);
        assert!(Continents::read("nothing\n").is_err());
    }

    #[test]
    fn every_country_has_one_continent() {
        let continents = Continents::built_in();
        assert!(continents.0.len() > 240);
        let listed: usize = include_str!("continents.txt")
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(_, countries)| countries.split_ascii_whitespace().count())
            .sum();
        assert_eq!(listed, continents.0.len());
    }
}
