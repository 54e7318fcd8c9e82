"""The supervisor process: carries out what `leeward._core` decides.  Standard library only."""
