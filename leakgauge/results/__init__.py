"""What audits leave behind: `store` keeps their records and images on disk, `gate` holds them against an earlier state."""
