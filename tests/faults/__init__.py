"""What must be survived: kills, damage, full disks, closed pipes and bad input, met by real processes and real files."""
